/* Owns the file of the last good configuration: what was accepted last, so that a sidecar that starts while the control plane
 * is away serves as before. Main thread; written a second after a change and at the end, to a temporary file that is
 * renamed.
 *
 * The file, numbers in little endian: magic and version (8 bytes), XXH64 of the rest (8), mode (1), node id, the server's version
 * of each type, the number of resources (4), then each by ascending type: type (1), name, version, value. Texts have their length
 * (4) in front. A file that is not whole, or another node's, is reported and left alone until the next is written over it.
 * Resources that the server gave a time to live do not stand in it. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/file.h"
#include "sidecar/base/hash.h"
#include "sidecar/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "OGXDS\0\0\1"
#define MAGIC_BYTES 8
#define HEAD_BYTES (MAGIC_BYTES + 8)
#define WRITE_DELAY_MS 1000
#define FILE_BYTES_MAX (2 * XDS_BYTES_MAX)

/* ---- Writing. ---- */

static void put_u32(struct buf *out, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        buf_append_byte(out, (uint8_t)(v >> 8 * i));
}

static void put_text(struct buf *out, struct str s)
{
    put_u32(out, (uint32_t)s.n);
    buf_append_str(out, s);
}

static void put_resources(const struct xds *x, enum xds_type type, struct buf *out, uint32_t *count)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&x->kinds[type].resources, &i, &name, &value);) {
        const struct resource *r = value;
        if (timer_is_armed(&r->ttl))
            continue;
        (*count)++;
        buf_append_byte(out, (uint8_t)type);
        put_text(out, r->name);
        put_text(out, r->version);
        put_text(out, r->value);
    }
}

static void seal(struct buf *out)
{
    uint8_t *bytes = buf_head(out);
    uint64_t sum = hash_xx64(bytes + HEAD_BYTES, buf_len(out) - HEAD_BYTES, 0);
    for (unsigned i = 0; i < 8; i++)
        bytes[MAGIC_BYTES + i] = (uint8_t)(sum >> 8 * i);
}

void last_good_pack(const struct xds *x, struct buf *out)
{
    struct buf resources = {0};
    uint32_t count = 0;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        put_resources(x, t, &resources, &count);
    assert(buf_len(out) == 0);
    buf_append(out, MAGIC "\0\0\0\0\0\0\0\0", HEAD_BYTES);
    buf_append_byte(out, (uint8_t)x->options.mode);
    put_text(out, x->node_id);
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        put_text(out, x->kinds[t].version);
    put_u32(out, count);
    buf_append_str(out, buf_str(&resources));
    buf_fini(&resources);
    seal(out);
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

/* 0 or -errno. */
static int write_file(const char *path, struct str bytes)
{
    char *temporary = xasprintf("%s.%ld.tmp", path, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = fd < 0 ? -errno : 0;
    if (fd >= 0 && !write_all(fd, bytes))
        error = errno ? -errno : -EIO;
    if (fd >= 0 && close(fd) && !error)
        error = -errno;
    if (!error && rename(temporary, path))
        error = -errno;
    if (error && fd >= 0)
        unlink(temporary);
    free(temporary);
    return error;
}

void last_good_write(struct xds *x)
{
    struct buf bytes = {0};
    timer_disarm(&x->write_timer);
    if (!x->options.state_path || !x->changed)
        return;
    last_good_pack(x, &bytes);
    int error = write_file(x->options.state_path, buf_str(&bytes));
    if (error)
        log_error(LOG_XDS, "%s: the last good configuration could not be written: %s", x->options.state_path,
                  strerror(-error));
    else
        x->changed = false;
    buf_fini(&bytes);
}

static void on_write_timer(struct timer *t)
{
    last_good_write(CONTAINER_OF(t, struct xds, write_timer));
}

void last_good_touch(struct xds *x)
{
    if (x->changed && x->options.state_path && !timer_is_armed(&x->write_timer))
        timer_arm(&x->write_timer, WRITE_DELAY_MS);
}

void last_good_init(struct xds *x)
{
    timer_init(&x->write_timer, x->loop, on_write_timer);
}

void last_good_stop(struct xds *x)
{
    last_good_write(x);
    timer_disarm(&x->write_timer);
}

/* ---- Reading. ---- */

/* What is left of the file; ok turns false where it ends too early, and stays so. */
struct reader {
    struct str rest;
    bool ok;
};

static struct str take(struct reader *r, size_t n)
{
    r->ok = r->ok && r->rest.n >= n;
    if (!r->ok)
        return STR_NONE;
    struct str taken = str_n(r->rest.p, n);
    r->rest = str_n(r->rest.p + n, r->rest.n - n);
    return taken;
}

static uint64_t take_number(struct reader *r, unsigned bytes)
{
    struct str s = take(r, bytes);
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++)
        v |= (uint64_t)(uint8_t)s.p[i] << 8 * i;
    return v;
}

static struct str take_text(struct reader *r)
{
    return take(r, (size_t)take_number(r, 4));
}

static struct xds_resource take_resource(struct reader *r)
{
    struct xds_resource out = {.type = (enum xds_type)take_number(r, 1)};
    out.name = take_text(r);
    out.version = take_text(r);
    out.value = take_text(r);
    return out;
}

static bool check_head(struct reader *r, struct err *err)
{
    struct str magic = take(r, MAGIC_BYTES);
    uint64_t sum = take_number(r, 8);
    if (!r->ok || memcmp(magic.p, MAGIC, MAGIC_BYTES) != 0)
        return err_set(err, "not a last good configuration of this version");
    if (hash_xx64(r->rest.p, r->rest.n, 0) != sum)
        return err_set(err, "its checksum is wrong");
    return true;
}

/* Behind the head, up to the resources. versions_r: of each type. */
static bool check_body(const struct xds *x, struct reader *r, struct str *versions_r, uint64_t *count_r, struct err *err)
{
    uint64_t mode = take_number(r, 1);
    struct str node_id = take_text(r);
    if (r->ok && !str_eq(node_id, x->node_id))
        return err_set(err, "it is of another node, \"%.*s\"", STR_FMT(node_id));
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        struct str version = take_text(r);
        versions_r[t] = mode == (uint64_t)x->options.mode ? version : STR_NONE;
    }
    *count_r = take_number(r, 4);
    struct reader ahead = *r;
    enum xds_type last = 0;
    for (uint64_t i = 0; i < *count_r && ahead.ok; i++) {
        struct xds_resource resource = take_resource(&ahead);
        ahead.ok = ahead.ok && resource.type < XDS_TYPE_COUNT && resource.type >= last && resource.name.n > 0;
        last = resource.type;
    }
    return (ahead.ok && ahead.rest.n == 0) || err_set(err, "its content is malformed");
}

static void load_one(struct xds *x, const struct xds_resource *r)
{
    bool root = xds_is_root(r->type);
    struct want *w = root ? NULL : wanted_find(x, r->type, r->name);
    struct err err = {0};
    if (root ? !xds_is_subscribed(x, r->type) : !w)
        return;
    if (!resources_put(x, r, &err))
        log_warn(LOG_XDS, "last good %s %.*s: refused: %s", xds_type_name(r->type), STR_FMT(r->name), err.text);
    else if (w)
        wanted_answer(x, w);
}

bool last_good_unpack(struct xds *x, struct str bytes, struct err *err)
{
    struct reader r = {.rest = bytes, .ok = true};
    struct str versions[XDS_TYPE_COUNT];
    uint64_t count = 0;
    if (!check_head(&r, err) || !check_body(x, &r, versions, &count, err))
        return false;
    bool clusters_done = false;
    for (uint64_t i = 0; i < count; i++) {
        struct xds_resource resource = take_resource(&r);
        assert(r.ok);
        if (resource.type >= XDS_LISTENER && !clusters_done) {
            resources_force(x);
            clusters_done = true;
        }
        load_one(x, &resource);
    }
    resources_force(x);
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        xds_set_str(&x->kinds[t].version, versions[t]);
    x->changed = false;
    return true;
}

/* 0 or -errno. */
static int read_file(const char *path, struct buf *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = fstat(fd, &st) ? -errno : 0;
    if (!error && !S_ISREG(st.st_mode))
        error = -EFBIG;
    if (!error)
        error = file_read_fd(fd, FILE_BYTES_MAX, out);
    close(fd);
    return error;
}

bool last_good_load(struct xds *x)
{
    const char *path = x->options.state_path;
    struct buf bytes = {0};
    struct err err = {0};
    int error = read_file(path, &bytes);
    bool good = !error && last_good_unpack(x, buf_str(&bytes), &err) && x->resource_count > 0;
    if (error && error != -ENOENT)
        log_warn(LOG_XDS, "%s: the last good configuration could not be read: %s", path, strerror(-error));
    else if (err.set)
        log_warn(LOG_XDS, "%s: ignored: %s", path, err.text);
    else if (good)
        log_info(LOG_XDS, "%s: serving the last good configuration: %zu resources", path, x->resource_count);
    buf_fini(&bytes);
    return good;
}
