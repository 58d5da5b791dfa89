/* Stateless: compares with what stands on disk. */
#include "control/registry/names.h"

#include "control/model/digest.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "reviews.shop.svc.cluster.local reviews.shop.svc reviews.shop", and "reviews" at home. */
static void write_names(const struct service *s, struct str ns, struct buf *out)
{
    if (s->is_entry) {
        buf_printf(out, " %.*s\n", STR_FMT(s->host));
        return;
    }
    buf_printf(out, " %.*s %.*s.%.*s.svc %.*s.%.*s", STR_FMT(s->host), STR_FMT(s->name), STR_FMT(s->ns), STR_FMT(s->name),
               STR_FMT(s->ns));
    if (str_eq(s->ns, ns))
        buf_printf(out, " %.*s", STR_FMT(s->name));
    buf_append_c(out, "\n");
}

static void write_service(const struct service *s, struct str ns, struct buf *out)
{
    struct str vip = service_vip(s);
    if (host_is_wildcard(s->host) || !export_allows(&s->export_to, ns))
        return;
    if (vip.n > 0) {
        buf_append_str(out, vip);
        write_names(s, ns, out);
    }
    for (unsigned i = 0; s->is_headless && i < s->endpoint_count; i++) {
        if (s->endpoints[i].health != ENDPOINT_HEALTHY)
            continue;
        buf_append_str(out, s->endpoints[i].address);
        write_names(s, ns, out);
    }
}

void names_write(const struct registry *r, struct str ns, struct buf *out)
{
    buf_append_c(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for (unsigned i = 0; i < r->service_count; i++)
        write_service(r->services[i], ns, out);
}

static bool is_same(int fd, struct str text)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || (size_t)st.st_size != text.n)
        return false;
    char *now = xmalloc(text.n + 1);
    bool same = pread(fd, now, text.n, 0) == (ssize_t)text.n && memcmp(now, text.p, text.n) == 0;
    free(now);
    return same;
}

/* Written first, cut afterwards: a reader in between sees names twice, never none. */
static int rewrite(const char *path, struct str text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int result = 0;
    if (fd < 0)
        return -errno;
    if (!is_same(fd, text) && (pwrite(fd, text.p, text.n, 0) != (ssize_t)text.n || ftruncate(fd, (off_t)text.n) != 0))
        result = errno > 0 ? -errno : -EIO;
    close(fd);
    return result;
}

static int update_namespace(const struct registry *r, const char *dir, struct str ns)
{
    struct buf text = {0};
    char *path = xasprintf("%s/%.*s", dir, STR_FMT(ns));
    names_write(r, ns, &text);
    int result = rewrite(path, buf_str(&text));
    buf_fini(&text);
    free(path);
    return result;
}

uint64_t names_digest(const struct registry *r)
{
    uint64_t digest = 0;
    for (unsigned i = 0; i < r->service_count; i++) {
        digest = digest_fold(digest, r->services[i]->digest);
        if (r->services[i]->is_headless)
            digest = digest_fold(digest, r->services[i]->endpoints_digest);
    }
    for (unsigned i = 0; i < r->pod_count; i++)
        digest = digest_fold_str(digest, r->pods[i]->ns);
    return digest;
}

int names_update(const struct registry *r, const char *dir)
{
    struct table done = {0};
    int result = 0;
    for (unsigned i = 0; i < r->service_count + r->pod_count; i++) {
        struct str ns = i < r->service_count ? r->services[i]->ns : r->pods[i - r->service_count]->ns;
        if (table_put(&done, ns, &done))
            continue;
        int one = update_namespace(r, dir, ns);
        result = result != 0 ? result : one;
    }
    table_fini(&done);
    return result;
}
