/* Who speaks: the node of the first request. */
#ifndef OUTRIGGER_CONTROL_ADS_SERVER_NODE_H
#define OUTRIGGER_CONTROL_ADS_SERVER_NODE_H

#include "control/cache/cache.h"
#include "sidecar/base/err.h"

/* Reads id "sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN", metadata NAMESPACE and LABELS, and the user agent. Strings are in
 * arena. False with the text of the INVALID_ARGUMENT. */
bool node_identity(const CORE(Node) *node, struct arena *arena, struct client_identity *identity_r, struct err *err);

#endif
