/* What the parts of the API share. */
#ifndef OUTRIGGER_CONTROL_API_PRIV_H
#define OUTRIGGER_CONTROL_API_PRIV_H

#include "control/api/api.h"
#include "sidecar/base/list.h"

struct api {
    struct serve *serve;
    char *token;
    struct api_plane plane;
    struct list pending; /* live.c: requests that are answered later */
};

/* One request while it is answered. */
struct asked {
    struct api *api;
    struct serve_request *rq;
    const struct http_request *head;
    struct str body;
    struct arena *arena;
    struct str path[8]; /* its segments */
    unsigned path_count;
};

void reply_json(struct asked *asked, unsigned status, struct str json);
/* {"error": "..."} */
void reply_error(struct asked *asked, unsigned status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* "POD.NAMESPACE" into its parts; false: it is not that. */
bool api_split_proxy(struct str who, struct str *pod_r, struct str *ns_r);

void api_get_breakers(struct asked *asked);
void api_get_events(struct asked *asked);
void api_get_admin(struct asked *asked);
/* Answers what waits: the end is near. */
void api_end_pending(struct api *api);
void api_get_services(struct asked *asked);
void api_get_objects(struct asked *asked);
void api_put_object(struct asked *asked);
void api_delete_object(struct asked *asked);

#endif
