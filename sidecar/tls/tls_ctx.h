/* A TLS context in force: what listeners and clusters refer to, with the material that it has now.
 *
 * Made and changed on main, counted; workers read it. A connection takes the material that is in force when it begins, and
 * keeps it: a change of certificates ends no connection. */
#ifndef OUTRIGGER_TLS_TLS_CTX_H
#define OUTRIGGER_TLS_TLS_CTX_H

#include "sidecar/tls/tls_material.h"

struct tls_ctx;

/* How many rows call in: main's, then one a worker. Once, at start, before the first context; one by default. */
void tls_ctx_set_rows(unsigned rows);

/* Takes the material; NULL: it comes later, until then connections fail. */
struct tls_ctx *tls_ctx_new(struct tls_material *m);
/* On main. Takes the material; connections that begin later have it. */
void tls_ctx_put(struct tls_ctx *t, struct tls_material *m);
/* The material in force, with a reference; NULL: none yet. */
struct tls_material *tls_ctx_material(struct tls_ctx *t);
bool tls_ctx_is_shared(const struct tls_ctx *t); /* someone but the caller refers to it */
struct tls_ctx *tls_ctx_ref(struct tls_ctx *t);
void tls_ctx_unref(struct tls_ctx **t); /* any thread; fine on NULL */

#endif
