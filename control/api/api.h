/* The control plane's HTTP API: what is in force, who has it, what is wrong with it, and changes of objects.
 *
 *   GET    /readyz                                        200, or 503 until the first configuration is in force
 *   GET    /api/v1/proxies                                connected sidecars and the state of each type
 *   GET    /api/v1/proxies/POD.NS/{clusters,endpoints,listeners,routes}   what a sidecar shall have
 *   GET    /api/v1/proxies/POD.NS/admin/PATH[?QUERY]      what the sidecar's administration endpoint answers to GET /PATH
 *   GET    /api/v1/breakers[?proxy=POD.NS&pods=1]         breakers and hosts as the sidecars see them; pods: with the hosts' pods
 *   GET    /api/v1/events[?proxy=POD.NS&since=SEQ&limit=N&wait=SECONDS]   ejections, overflows, refusals; wait: until there is one
 *   GET    /api/v1/services                               services with ports and endpoints
 *   GET    /api/v1/objects[?kind=K&namespace=N&name=M]    objects in force, with their files
 *   GET    /api/v1/findings                               what is wrong, over all files
 *   PUT    /api/v1/objects/GROUP/KIND/NS/NAME             the body, one document, in its file ("core" is Kubernetes' own group)
 *   DELETE /api/v1/objects/GROUP/KIND/NS/NAME
 */
#ifndef OUTRIGGER_CONTROL_API_API_H
#define OUTRIGGER_CONTROL_API_API_H

#include "control/agent/agents.h"
#include "control/cache/cache.h"
#include "control/sources/files.h"
#include "proto/findings.h"
#include "sidecar/http/serve.h"

/* What the API shows and changes; all of it outlives it. */
struct api_plane {
    struct files *files;
    struct cache *cache;
    struct agents *agents;
    const char *const *configs; /* the directories of intent: the first takes new objects */
    unsigned config_count;
    const char *domain;
    /* Reads the files again now. */
    void (*rescan)(void *ctx);
    /* Appends the JSON array of /api/v1/proxies. */
    void (*write_proxies)(void *ctx, struct buf *out);
    /* The connected client of a pod; NULL: none is. */
    const struct cache_client *(*find_client)(void *ctx, struct str pod, struct str ns);
    /* All findings: of files, of references. */
    void (*findings)(void *ctx, struct findings *out);
    void *ctx;
};

struct api;
/* Serves; token NULL: whoever can connect may ask. NULL with -errno in *error_r. */
struct api *api_serve(struct loop *loop, const struct addr *at, const struct listen_options *listen, const char *token,
                      const struct api_plane *plane, int *error_r);
struct api *api_serve_fd(struct loop *loop, int fd, const char *token, const struct api_plane *plane);
void api_stop(struct api **api);
uint16_t api_port(const struct api *api);

#endif
