/* Files on disk as objects. Runs on the control plane's one loop; owns everything it hands out.
 *
 * A file has up to two versions: the *latest*, which is what stood on disk at the last look, and the one *in force*. They are the
 * same while the text is good. A version is one arena with the parsed tree, the objects and the findings. Which version is in
 * force is decided anew at each scan, over all files in order of path, because the refusal of a double depends on the others. */
#include "control/sources/files.h"

#include "control/check/check.h"
#include "proto/codes.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/file.h"
#include "sidecar/base/hash.h"
#include "sidecar/base/log.h"
#include "sidecar/base/table.h"
#include "sidecar/net/timer.h"
#include "sidecar/net/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 32
#define YOUNG_US 20000

/* When these are equal the file is taken for unchanged. */
struct identity {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

struct version {
    struct arena *arena;
    struct findings findings;
    struct object **objects;
    unsigned count;
    const struct object *twice; /* has the name of one further up; NULL: none has */
    uint64_t text_hash;
    bool is_unread; /* nothing but the finding that tells why */
};

struct file {
    char *path;
    unsigned dir_at;
    struct identity identity;
    struct version *latest, *in_force; /* NULL: none; may be the same */
    bool is_seen;
    bool is_young;  /* its identity cannot be trusted yet */
    bool is_double; /* the latest text is good, but holds an object of an earlier path */
};

struct files {
    char **dirs;
    unsigned dir_count;
    unsigned observed_at; /* the directory of what is observed; dir_count: none is */
    struct file **v; /* sorted */
    unsigned count, cap;
    struct table by_path;
    struct object **objects;
    unsigned object_count, object_cap;
    struct arena *double_arena, *unread_arena;
    struct findings doubles, unread; /* unread: directories */
    /* Following. */
    struct watch **watches;
    struct timer timer;
    files_fn *fn;
    void *ctx;
};

/* ---- Versions. ---- */

static struct version *version_new(void)
{
    struct version *v = NEW(struct version);
    v->arena = arena_new(4096);
    findings_init(&v->findings, v->arena);
    return v;
}

static void version_free(struct version **v)
{
    if (!*v)
        return;
    arena_free(&(*v)->arena);
    free(*v);
    *v = NULL;
}

static void file_drop_versions(struct file *f)
{
    if (f->latest != f->in_force)
        version_free(&f->latest);
    f->latest = NULL;
    version_free(&f->in_force);
}

static void file_free(struct file *f)
{
    file_drop_versions(f);
    free(f->path);
    free(f);
}

static void refuse_file(struct version *v, const char *path, unsigned code, const char *why)
{
    findings_add(&v->findings, &(struct finding){.level = FINDING_ERROR,
                                                 .code = code,
                                                 .file = path,
                                                 .message = str_of(why)});
}

static void find_twice(struct version *v)
{
    struct table seen = {0};
    for (unsigned i = 0; i < v->count && !v->twice; i++) {
        if (table_put(&seen, v->objects[i]->id, v))
            v->twice = v->objects[i];
    }
    table_fini(&seen);
}

static struct version *read_version(const char *path, int fd, const struct stat *st)
{
    struct version *v = version_new();
    struct buf bytes = {0};
    int rc = (uint64_t)st->st_size > FILES_BYTES_MAX ? -EFBIG : file_read_fd(fd, FILES_BYTES_MAX, &bytes);
    if (rc == -EFBIG) {
        refuse_file(v, path, OG_TOO_LARGE, "is larger than 16 MiB");
        v->text_hash = (uint64_t)st->st_size;
    } else if (rc != 0) {
        refuse_file(v, path, OG_FILE, strerror(-rc));
    } else {
        struct str text = buf_str(&bytes);
        v->text_hash = hash_xx64(text.p, text.n, 0);
        struct check_objects read = check_text(text, path, v->arena, &v->findings);
        v->objects = read.v;
        v->count = read.count;
        find_twice(v);
    }
    buf_fini(&bytes);
    return v;
}

/* ---- Looking at the disk. ---- */

static bool is_config_name(const char *name)
{
    struct str s = str_of(name);
    if (name[0] == '.' || str_has_suffix(s, STR("~")) || str_has_suffix(s, STR(".swp")) || str_eq_c(s, "vips.json"))
        return false;
    return str_has_suffix(s, STR(".yaml")) || str_has_suffix(s, STR(".yml")) || str_has_suffix(s, STR(".json"));
}

static struct file *find_file(struct files *fs, const char *path)
{
    return table_get(&fs->by_path, str_of(path));
}

static struct file *add_file(struct files *fs, const char *path, unsigned dir_at)
{
    if (fs->count == fs->cap) {
        fs->cap = fs->cap ? fs->cap * 2 : 16;
        fs->v = xrealloc(fs->v, fs->cap * sizeof(struct file *));
    }
    struct file *f = NEW(struct file);
    f->path = xstrdup(path);
    f->dir_at = dir_at;
    fs->v[fs->count++] = f;
    table_put(&fs->by_path, str_of(path), f);
    return f;
}

static struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool is_same(const struct identity *a, const struct identity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
           a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* A read lease is granted only while nobody has the file open for writing. Half a text could be good YAML that lacks objects:
 * such a file waits for its close, which is an event of its own. */
static bool is_being_written(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN;
}

static void take_latest(struct file *f, struct version *v)
{
    if (f->latest != f->in_force)
        version_free(&f->latest);
    f->latest = v;
}

/* Something that cannot be read: told once, until it changes. */
static bool refuse_path(struct file *f, const char *why)
{
    bool is_told = f->latest && f->latest->is_unread && str_eq_c(f->latest->findings.v[0].message, why);
    if (is_told)
        return false;
    struct version *v = version_new();
    refuse_file(v, f->path, OG_FILE, arena_strdup(v->arena, why));
    v->is_unread = true;
    take_latest(f, v);
    f->identity = (struct identity){0};
    return true;
}

/* Times on disk are as coarse as the kernel's tick: a file that changed just before it was read may change again and look the
 * same. */
static bool is_young(const struct stat *st)
{
    uint64_t changed_us = (uint64_t)st->st_ctim.tv_sec * 1000000 + (uint64_t)st->st_ctim.tv_nsec / 1000;
    return changed_us + YOUNG_US > clock_wall_us();
}

/* Whether there is a new latest version. */
static bool read_file(struct file *f, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return refuse_path(f, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse_path(f, "is not a regular file");
    if (is_being_written(fd))
        return false;
    struct version *v = read_version(f->path, fd, &st);
    bool is_news = !f->latest || f->latest->is_unread || f->latest->text_hash != v->text_hash;
    if (is_news)
        take_latest(f, v);
    else
        version_free(&v);
    f->identity = identity_of(&st);
    f->is_young = is_young(&st);
    return is_news;
}

/* Whether there is a new latest version. seen: what stat() said of the path just now; what did not change is not opened. */
static bool look_at_file(struct files *fs, const char *path, const struct stat *seen, unsigned dir_at)
{
    struct file *f = find_file(fs, path);
    struct identity now = identity_of(seen);
    if (!f)
        f = add_file(fs, path, dir_at);
    f->is_seen = true;
    if (!S_ISREG(seen->st_mode))
        return refuse_path(f, "is not a regular file");
    if (f->latest && !f->is_young && is_same(&now, &f->identity))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        f->is_seen = errno != ENOENT; /* else gone since the directory was read */
        return errno != ENOENT && refuse_path(f, strerror(errno));
    }
    bool is_changed = read_file(f, fd);
    close(fd);
    return is_changed;
}

/* A directory that cannot be read says nothing about what is in it: that stays in force. */
static void keep_below(struct files *fs, const char *path, unsigned dir_at, int error)
{
    size_t n = strlen(path);
    for (unsigned i = 0; i < fs->count; i++) {
        struct file *f = fs->v[i];
        f->is_seen |= f->dir_at == dir_at && strncmp(f->path, path, n) == 0 && f->path[n] == '/';
    }
    findings_add(&fs->unread, &(struct finding){
                                  .level = FINDING_ERROR,
                                  .code = OG_FILE,
                                  .file = arena_strdup(fs->unread_arena, path),
                                  .message = arena_printf(fs->unread_arena, "cannot be read: %s", strerror(error)),
                                  .fix = STR("what it held before stays in force until it can"),
                              });
}

static bool look_at_dir(struct files *fs, const char *path, unsigned dir_at, unsigned depth)
{
    errno = ELOOP;
    DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
    bool is_changed = false;
    if (!dir) {
        if (depth == 0 || errno != ENOENT)
            keep_below(fs, path, dir_at, errno);
        return false;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (entry->d_name[0] == '.')
            continue;
        char *child = xasprintf("%s/%s", path, entry->d_name);
        bool is_there = stat(child, &st) == 0; /* not a dangling link */
        if (is_there && S_ISDIR(st.st_mode))
            is_changed |= look_at_dir(fs, child, dir_at, depth + 1);
        else if (is_there && is_config_name(entry->d_name))
            is_changed |= look_at_file(fs, child, &st, dir_at);
        free(child);
    }
    closedir(dir);
    return is_changed;
}

static bool drop_unseen(struct files *fs)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < fs->count; i++) {
        if (fs->v[i]->is_seen) {
            fs->v[kept++] = fs->v[i];
            continue;
        }
        table_remove(&fs->by_path, str_of(fs->v[i]->path));
        file_free(fs->v[i]);
    }
    bool is_changed = kept != fs->count;
    fs->count = kept;
    return is_changed;
}

static int compare_files(const void *a, const void *b)
{
    const struct file *x = *(struct file *const *)a, *y = *(struct file *const *)b;
    if (x->dir_at != y->dir_at)
        return x->dir_at < y->dir_at ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* ---- What is in force. ---- */

/* Objects of one look at all files, while it is decided which are in force. */
struct deciding {
    struct files *fs;
    struct table claims;   /* id -> the object that has it */
    struct table observed; /* ids of Pods that are observed */
};

/* A Pod may be written down as intent too: what is observed of it counts, and is no double. */
static bool is_overruled(const struct deciding *d, const struct file *f, const struct object *o)
{
    return o->kind == KIND_POD && f->dir_at != d->fs->observed_at && table_get(&d->observed, o->id);
}

static const struct object *find_double(const struct deciding *d, const struct file *f)
{
    const struct table *claims = &d->claims;
    const struct version *v = f->latest;
    for (unsigned i = 0; i < v->count; i++) {
        if (is_overruled(d, f, v->objects[i]))
            continue;
        const struct object *earlier = table_get(claims, v->objects[i]->id);
        if (earlier)
            return v->objects[i];
    }
    return v->twice;
}

static void refuse_double(struct files *fs, const struct table *claims, const struct object *o)
{
    const struct object *earlier = table_get(claims, o->id);
    const char *where = earlier ? earlier->file.p : "this file, further up";
    findings_add(&fs->doubles, &(struct finding){
                                   .level = FINDING_ERROR,
                                   .code = OG_DUPLICATE_OBJECT,
                                   .file = o->file.p,
                                   .line = node_line(o->document),
                                   .column = node_column(o->document),
                                   .object = o->id,
                                   .path = STR("metadata.name"),
                                   .message = arena_printf(fs->double_arena, "is already in %s; this file is refused", where),
                                   .fix = STR("remove one of the two"),
                               });
}

static void put_in_force(struct deciding *d, const struct file *f)
{
    struct files *fs = d->fs;
    for (unsigned i = 0; f->in_force && i < f->in_force->count; i++) {
        struct object *o = f->in_force->objects[i];
        if (table_get(&d->claims, o->id) || is_overruled(d, f, o))
            continue; /* of a version that was good before an earlier path took the name */
        table_put(&d->claims, o->id, o);
        if (fs->object_count == fs->object_cap) {
            fs->object_cap = fs->object_cap ? fs->object_cap * 2 : 64;
            fs->objects = xrealloc(fs->objects, fs->object_cap * sizeof(struct object *));
        }
        o->sequence = fs->object_count;
        fs->objects[fs->object_count++] = o;
    }
}

static void decide_file(struct deciding *d, struct file *f)
{
    bool is_good = f->latest && f->latest->findings.errors == 0;
    const struct object *twice = is_good ? find_double(d, f) : NULL;
    f->is_double = twice != NULL;
    if (twice)
        refuse_double(d->fs, &d->claims, twice);
    if (is_good && !twice && f->latest != f->in_force) {
        version_free(&f->in_force);
        f->in_force = f->latest;
    }
    put_in_force(d, f);
}

static void note_observed(struct deciding *d, const struct file *f)
{
    bool is_good = f->latest && f->latest->findings.errors == 0;
    const struct version *v = is_good ? f->latest : f->in_force;
    for (unsigned i = 0; v && i < v->count; i++) {
        if (v->objects[i]->kind == KIND_POD)
            table_put(&d->observed, v->objects[i]->id, d);
    }
}

static void decide(struct files *fs)
{
    struct deciding d = {.fs = fs};
    if (fs->count > 0)
        qsort(fs->v, fs->count, sizeof(struct file *), compare_files);
    arena_reset(fs->double_arena);
    findings_init(&fs->doubles, fs->double_arena);
    fs->object_count = 0;
    for (unsigned i = 0; i < fs->count; i++) {
        if (fs->v[i]->dir_at == fs->observed_at)
            note_observed(&d, fs->v[i]);
    }
    for (unsigned i = 0; i < fs->count; i++)
        decide_file(&d, fs->v[i]);
    table_fini(&d.claims);
    table_fini(&d.observed);
}

/* ---- The interface. ---- */

struct files *files_new(const char *const *dirs, unsigned count)
{
    struct files *fs = NEW(struct files);
    fs->dirs = xcalloc(count, sizeof(char *));
    fs->dir_count = fs->observed_at = count;
    for (unsigned i = 0; i < count; i++) {
        struct str dir = str_of(dirs[i]);
        while (dir.n > 1 && dir.p[dir.n - 1] == '/')
            dir.n--;
        fs->dirs[i] = xmemdup0(dir.p, dir.n);
    }
    fs->watches = xcalloc(count, sizeof(struct watch *));
    fs->unread_arena = arena_new(1024);
    findings_init(&fs->unread, fs->unread_arena);
    fs->double_arena = arena_new(1024);
    findings_init(&fs->doubles, fs->double_arena);
    return fs;
}

void files_observe(struct files *fs, unsigned dir_at)
{
    assert(dir_at < fs->dir_count);
    fs->observed_at = dir_at;
}

void files_free(struct files **files)
{
    struct files *fs = *files;
    if (!fs)
        return;
    *files = NULL;
    timer_disarm(&fs->timer);
    for (unsigned i = 0; i < fs->dir_count; i++) {
        watch_stop(&fs->watches[i]);
        free(fs->dirs[i]);
    }
    for (unsigned i = 0; i < fs->count; i++)
        file_free(fs->v[i]);
    table_fini(&fs->by_path);
    arena_free(&fs->double_arena);
    arena_free(&fs->unread_arena);
    free(fs->watches);
    free(fs->dirs);
    free(fs->v);
    free(fs->objects);
    free(fs);
}

bool files_scan(struct files *fs)
{
    unsigned unread = fs->unread.count;
    bool is_changed = false;
    arena_reset(fs->unread_arena);
    findings_init(&fs->unread, fs->unread_arena);
    for (unsigned i = 0; i < fs->count; i++)
        fs->v[i]->is_seen = false;
    for (unsigned i = 0; i < fs->dir_count; i++) {
        struct stat st;
        bool is_file = stat(fs->dirs[i], &st) == 0 && S_ISREG(st.st_mode);
        is_changed |= is_file ? look_at_file(fs, fs->dirs[i], &st, i) : look_at_dir(fs, fs->dirs[i], i, 0);
    }
    is_changed |= drop_unseen(fs);
    is_changed |= unread != fs->unread.count;
    if (is_changed)
        decide(fs);
    return is_changed;
}

static void on_timer(struct timer *t)
{
    struct files *fs = CONTAINER_OF(t, struct files, timer);
    if (files_scan(fs))
        fs->fn(fs->ctx);
}

static void on_event(void *ctx)
{
    struct files *fs = ctx;
    if (!timer_is_armed(&fs->timer))
        timer_arm(&fs->timer, FILES_DELAY_MS);
}

int files_watch(struct files *fs, struct loop *loop, files_fn *fn, void *ctx, const char **dir_r)
{
    fs->fn = fn;
    fs->ctx = ctx;
    timer_init(&fs->timer, loop, on_timer);
    for (unsigned i = 0; i < fs->dir_count; i++) {
        assert(!fs->watches[i]);
        fs->watches[i] = watch_start(loop, fs->dirs[i], on_event, fs);
        if (!fs->watches[i]) {
            *dir_r = fs->dirs[i];
            return -errno;
        }
    }
    on_event(fs); /* what changed between the first scan and now */
    return 0;
}

struct object *const *files_objects(const struct files *fs, unsigned *count_r)
{
    *count_r = fs->object_count;
    return fs->objects;
}

void files_findings(const struct files *fs, struct findings *out)
{
    for (unsigned i = 0; i < fs->count; i++) {
        const struct version *v = fs->v[i]->latest;
        for (unsigned j = 0; v && j < v->findings.count; j++)
            findings_add(out, &v->findings.v[j]);
    }
    for (unsigned i = 0; i < fs->doubles.count; i++)
        findings_add(out, &fs->doubles.v[i]);
    for (unsigned i = 0; i < fs->unread.count; i++)
        findings_add(out, &fs->unread.v[i]);
}

unsigned files_refused(const struct files *fs)
{
    unsigned n = 0;
    for (unsigned i = 0; i < fs->count; i++) {
        const struct file *f = fs->v[i];
        n += f->is_double || (f->latest && f->latest->findings.errors > 0);
    }
    return n;
}
