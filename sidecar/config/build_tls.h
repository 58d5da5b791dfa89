/* TLS contexts out of protobuf: Envoy's DownstreamTlsContext and UpstreamTlsContext. */
#ifndef OUTRIGGER_CONFIG_BUILD_TLS_H
#define OUTRIGGER_CONFIG_BUILD_TLS_H

#include "proto/core.pb-c.h"
#include "sidecar/base/buf.h"
#include "sidecar/config/secrets.h"
#include "sidecar/upstream/cluster_cfg.h"

/* A context with one reference, or NULL with err. secrets NULL: there are none. *later_r: what it needs comes from a control
 * plane, which is not built; the context is NULL then and err names it. */
struct tls_ctx *build_downstream_tls(const Google__Protobuf__Any *any, struct secrets *secrets, bool *later_r, struct err *err);
/* Fills *to, whose context is the caller's to unref. */
bool build_upstream_tls(const Google__Protobuf__Any *any, struct secrets *secrets, struct upstream_transport *to, bool *later_r,
                        struct err *err);

/* For secrets.c: the material as files are now, NULL with err; paths_r: appended, as secrets_follow takes them. */
struct tls_material *build_tls_material(enum tls_side side, struct str message, struct secrets *secrets, struct buf *paths_r,
                                        struct err *err);

#endif
