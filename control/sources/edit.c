/* Documents are found by their separators: a line that begins with "---" is one wherever it stands, by YAML's own rule. Stateless;
 * on the control plane's loop, or in the command line. */
#include "control/sources/edit.h"

#include "sidecar/base/die.h"
#include "sidecar/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Where a document stands. ---- */

struct range {
    size_t separator; /* where its separator begins; 0 where the text begins without one */
    size_t from, to;  /* its lines; to is where the next separator begins, or the end */
    bool is_inline;   /* it begins on the line of its separator */
};

static size_t line_end(struct str text, size_t at)
{
    ptrdiff_t end = str_index(text, '\n', at);
    return end < 0 ? text.n : (size_t)end + 1;
}

static bool is_separator(struct str line)
{
    if (!str_has_prefix(line, STR("---")))
        return false;
    return line.n == 3 || strchr(" \t\r\n", line.p[3]) != NULL;
}

static struct range find_range(struct str text, unsigned line)
{
    struct range r = {0, 0, text.n, false};
    unsigned number = 1;
    for (size_t at = 0; at < text.n; number++) {
        size_t end = line_end(text, at);
        if (is_separator(str_sub(text, at, end - at))) {
            if (number > line) {
                r.to = at;
                return r;
            }
            r.separator = at;
            r.is_inline = number == line;
            r.from = r.is_inline ? at : end;
        }
        at = end;
    }
    return r;
}

struct str edit_document(struct str text, unsigned line)
{
    struct range r = find_range(text, line);
    struct str document = str_sub(text, r.from, r.to - r.from);
    return r.is_inline ? str_sub(document, 3, document.n) : document;
}

/* ---- Files. ---- */

static bool read_file(const char *path, struct buf *out, mode_t *mode_r, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(err, "%s: cannot be read: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    *mode_r = st.st_mode & 07777;
    int rc = file_read_fd(fd, SIZE_MAX, out);
    close(fd);
    return rc == 0 || err_set(err, "%s: cannot be read: %s", path, strerror(-rc));
}

static bool write_all(int fd, struct str text)
{
    for (size_t at = 0; at < text.n;) {
        ssize_t n = write(fd, text.p + at, text.n - at);
        if (n < 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* The temporary file is hidden: sources do not read it. */
static bool replace_file(const char *path, struct str text, mode_t mode, struct err *err)
{
    const char *slash = strrchr(path, '/');
    assert(slash);
    char *temporary = xasprintf("%.*s/.%s.%ld.tmp", (int)(slash - path), path, slash + 1, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    bool ok = fd >= 0 && fchmod(fd, mode) == 0 && write_all(fd, text) && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    if (!ok || rename(temporary, path) != 0) {
        err_set(err, "%s: cannot be written: %s", path, strerror(errno));
        unlink(temporary);
        ok = false;
    }
    free(temporary);
    return ok;
}

/* ---- The verbs. ---- */

static bool is_json_file(const char *path)
{
    return str_has_suffix(str_of(path), STR(".json"));
}

static bool refuse_item(const struct object *old, struct err *err)
{
    return err_set(err, "%.*s is an item of a List in %.*s; edit that file", STR_FMT(old->id), STR_FMT(old->file));
}

static void append_document(struct buf *out, struct str text)
{
    buf_append_str(out, text);
    if (text.n > 0 && text.p[text.n - 1] != '\n')
        buf_append_c(out, "\n");
}

static bool put_in_place(const struct object *old, struct str text, struct err *err)
{
    struct buf before = {0}, after = {0};
    mode_t mode;
    const char *path = old->file.p;
    bool ok = read_file(path, &before, &mode, err);
    if (ok && is_json_file(path) && !str_has_prefix(str_trim(text), STR("{")))
        ok = err_set(err, "%s: is JSON, and the new text is not", path);
    if (ok) {
        struct str now = buf_str(&before);
        struct range r = find_range(now, node_line(old->document));
        buf_append_str(&after, str_sub(now, 0, r.from));
        if (r.is_inline)
            buf_append_c(&after, "---\n");
        append_document(&after, text);
        buf_append_str(&after, str_sub(now, r.to, now.n));
        ok = replace_file(path, buf_str(&after), mode, err);
    }
    buf_fini(&before);
    buf_fini(&after);
    return ok;
}

static bool put_anew(const char *dir, const struct object *object, struct str text, char **path_r, struct err *err)
{
    char *applied = xasprintf("%s/applied", dir);
    struct buf out = {0};
    append_document(&out, text);
    bool ok = mkdir(applied, 0755) == 0 || errno == EEXIST || err_set(err, "%s: cannot be made: %s", applied, strerror(errno));
    *path_r = xasprintf("%s/%s.%.*s.%.*s.yaml", applied, kind_info(object->kind)->name, STR_FMT(object->ns), STR_FMT(object->name));
    ok = ok && replace_file(*path_r, buf_str(&out), 0644, err);
    buf_fini(&out);
    free(applied);
    return ok;
}

bool edit_put(const char *dir, const struct object *old, const struct object *object, struct str text, char **path_r,
              struct err *err)
{
    *path_r = NULL;
    if (!old)
        return put_anew(dir, object, text, path_r, err);
    if (old->is_item)
        return refuse_item(old, err);
    *path_r = xmemdup0(old->file.p, old->file.n);
    return put_in_place(old, text, err);
}

/* Whether nothing but comments, separators and space is left. */
static bool is_empty_text(struct str text)
{
    struct str line;
    while (str_next(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n > 0 && line.p[0] != '#' && !is_separator(line))
            return false;
    }
    return true;
}

bool edit_delete(const struct object *old, struct err *err)
{
    struct buf before = {0}, after = {0};
    mode_t mode;
    const char *path = old->file.p;
    if (old->is_item)
        return refuse_item(old, err);
    bool ok = read_file(path, &before, &mode, err);
    if (ok) {
        struct str now = buf_str(&before);
        struct range r = find_range(now, node_line(old->document));
        buf_append_str(&after, str_sub(now, 0, r.separator));
        buf_append_str(&after, str_sub(now, r.to, now.n));
        if (!is_empty_text(buf_str(&after)))
            ok = replace_file(path, buf_str(&after), mode, err);
        else if (unlink(path) != 0)
            ok = err_set(err, "%s: cannot be removed: %s", path, strerror(errno));
    }
    buf_fini(&before);
    buf_fini(&after);
    return ok;
}
