/* Tells the control plane what breakers and outlier detection do, and answers its questions to the administration endpoint:
 * outrigger.agent.v1.Agent/Session, a call of its own on the connection that ADS uses. On the main thread.
 *
 * Once a second it tells what changed; events at once. A control plane that does not know the service is not asked again on the
 * same connection. While there is no session, events are kept, as many as there is room for. */
#ifndef OUTRIGGER_AGENT_AGENT_H
#define OUTRIGGER_AGENT_AGENT_H

#include "sidecar/base/buf.h"
#include "sidecar/http/stream.h"
#include "sidecar/observe/refusals.h"

struct agent;
struct live;
struct live_eject_event;

/* What the server supplies; functions run on main, ctx is theirs. */
struct agent_ops {
    const struct live *live;
    struct str node_id;
    /* GET of a path of the administration endpoint: appends the body, returns the status. */
    unsigned (*admin_get)(void *ctx, struct str path, const char **content_type_r, struct buf *body);
};

/* ops is copied; what it points to outlives the agent. */
struct agent *agent_new(struct loop *loop, const struct agent_ops *ops, void *ctx);
void agent_free(struct agent **a);

/* The connection to the control plane works: more calls may be made on it until agent_disconnected, which comes before it ends. */
void agent_connected(struct agent *a, struct codec *codec);
void agent_disconnected(struct agent *a);

/* What a worker refused. */
void agent_refused(struct agent *a, const struct refusals *refusals);
/* What outlier detection decided about a host; may be called from inside live. */
void agent_on_eject(struct agent *a, const struct live_eject_event *event);

#endif
