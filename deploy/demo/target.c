/* One call after another, none shared: a struct call lives from target_get until its answer. The pod's /etc/hosts
 * changes under a running program, so no address is kept. The loop's thread. */
#include "deploy/demo/target.h"

#include "sidecar/base/die.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    const struct target *target;
    struct loop *loop;
    const struct headers *extra;
    uint64_t timeout_ms;
    fetch_fn *fn;
    void *ctx;
};

bool target_init(struct target *t, const char *url, struct err *err)
{
    struct str host, path;
    memset(t, 0, sizeof(*t));
    if (!fetch_split_url(str_of(url), &host, &t->port, &path))
        return err_set(err, "must be http://HOST[:PORT]/PATH, got \"%s\"", url);
    t->url = url;
    t->host = xmemdup0(host.p, host.n);
    t->path = path.n > 0 ? xmemdup0(path.p, path.n) : xstrdup("/");
    t->authority = t->port == 80 ? xstrdup(t->host) : xasprintf("%s:%u", t->host, t->port);
    return true;
}

void target_fini(struct target *t)
{
    free(t->host);
    free(t->path);
    free(t->authority);
    memset(t, 0, sizeof(*t));
}

static void on_answer(void *ctx, const struct fetch_answer *answer)
{
    struct call *c = ctx;
    c->fn(c->ctx, answer);
    free(c);
}

static void fetch(struct call *c, const struct addr *to)
{
    const struct fetch_options options = {.timeout_ms = c->timeout_ms};
    fetch_start(c->loop, to, "GET", c->target->authority, c->target->path, c->extra, STR_NONE, &options,
                on_answer, c);
}

static void on_resolved(void *ctx, const struct dns_answer *dns)
{
    struct call *c = ctx;
    if (dns->status == 0 && dns->count > 0) {
        struct addr to = dns->addrs[0];
        addr_set_port(&to, c->target->port);
        fetch(c, &to);
        return;
    }
    const struct fetch_answer answer = {
        .error = EHOSTUNREACH,
        .failure = dns->status != 0 ? dns_status_text(dns->status) : "the name has no address"};
    on_answer(c, &answer);
}

void target_get(const struct target *t, struct loop *loop, struct dns *dns, const struct headers *extra,
                uint64_t timeout_ms, fetch_fn *fn, void *ctx)
{
    assert(t->host && fn);
    struct call *c = NEW(struct call);
    *c = (struct call){.target = t, .loop = loop, .extra = extra, .timeout_ms = timeout_ms, .fn = fn, .ctx = ctx};
    struct addr to;
    if (addr_from_ip(str_of(t->host), t->port, &to))
        fetch(c, &to);
    else
        dns_resolve(dns, t->host, DNS_V4_PREFERRED, on_resolved, c);
}
