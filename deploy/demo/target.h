/* A URL that a demo program calls: its name is looked up anew for each call. */
#ifndef OUTRIGGER_DEMO_TARGET_H
#define OUTRIGGER_DEMO_TARGET_H

#include "sidecar/base/err.h"
#include "sidecar/http/fetch.h"
#include "sidecar/net/dns.h"

struct target {
    const char *url; /* as given */
    char *host;
    char *authority; /* host:port, or the host alone for port 80 */
    char *path;
    uint16_t port;
};

/* url must outlive the target. False with err when it is not "http://HOST[:PORT]/PATH". */
bool target_init(struct target *t, const char *url, struct err *err);
void target_fini(struct target *t);
/* GETs it once with the extra headers (NULL: none), which must live until the answer. fn is called once; a name that
 * cannot be resolved is an answer with error EHOSTUNREACH. The target must live until then. */
void target_get(const struct target *t, struct loop *loop, struct dns *dns, const struct headers *extra,
                uint64_t timeout_ms, fetch_fn *fn, void *ctx);

#endif
