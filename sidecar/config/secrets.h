/* Secrets by name and by file, and the TLS contexts that are made of them.
 *
 * Main thread. Secrets of the bootstrap are constant. A context that takes one from a file (SDS by path_config_source) is
 * followed: when the file, or one that it names, changes, the context gets new material; connections that are open stay. */
#ifndef OUTRIGGER_CONFIG_SECRETS_H
#define OUTRIGGER_CONFIG_SECRETS_H

#include "proto/tls.pb-c.h"
#include "sidecar/base/err.h"
#include "sidecar/net/loop.h"
#include "sidecar/tls/tls_ctx.h"

struct secrets;

/* loop NULL: files are read, and not followed. */
struct secrets *secrets_new(struct loop *loop);
void secrets_free(struct secrets **s);
/* One of static_resources.secrets. */
bool secrets_add(struct secrets *s, const Envoy__Extensions__TransportSockets__Tls__V3__Secret *m, struct err *err);
/* NULL: none of that name. Good while s is. */
const Envoy__Extensions__TransportSockets__Tls__V3__Secret *secrets_find(const struct secrets *s, const char *name);

/* ---- For build_tls.c. ---- */

/* Takes no reference; the context is followed until nobody else has it. message: the context's own, packed. paths: what it was
 * made of, one behind another, each with its NUL. */
void secrets_follow(struct secrets *s, struct tls_ctx *ctx, enum tls_side side, struct str message, struct str paths);

#endif
