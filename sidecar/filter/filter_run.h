/* The filters of a connection manager, at work on one exchange: drives events through their hooks
 * and hands the exchange what came through. The router is not among them; it is what the exchange
 * does with on_request_headers. */
#ifndef OUTRIGGER_FILTER_FILTER_RUN_H
#define OUTRIGGER_FILTER_FILTER_RUN_H

#include "sidecar/base/buf.h"
#include "sidecar/filter/filter.h"
#include "sidecar/filter/listener_cfg.h"

/* The exchange's side. Each may end the run. */
struct filter_run_handler {
    /* What passed all filters; pointers as they were given, data for the call only. */
    void (*on_request_headers)(void *ctx, struct http_request *request, bool end);
    void (*on_request_data)(void *ctx, const uint8_t *data, size_t n, bool end);
    void (*on_request_trailers)(void *ctx, struct headers *trailers);
    void (*on_response_headers)(void *ctx, struct http_response *response, bool end);
    void (*on_response_data)(void *ctx, const uint8_t *data, size_t n, bool end);
    void (*on_response_trailers)(void *ctx, struct headers *trailers);
    /* A filter answers. No request event passes any more; the answer goes through
     * filter_run_response_headers. */
    void (*on_reply)(void *ctx, const struct filter_reply *reply);
    /* An event of that direction is held (stop reading there), or goes on. */
    void (*on_request_hold)(void *ctx, bool is_held);
    void (*on_response_hold)(void *ctx, bool is_held);
};

enum filter_event {
    FILTER_EVENT_NONE,
    FILTER_EVENT_HEADERS,
    FILTER_EVENT_DATA,
    FILTER_EVENT_TRAILERS
};

/* One direction. */
struct filter_flow {
    enum filter_event held; /* NONE: nothing is */
    unsigned step;          /* how many filters the held event has passed, the holder included */
    void *message;          /* the held headers or trailers */
    struct buf data;        /* the held data */
    bool end;
    bool is_told;   /* the exchange knows that it is held */
    bool is_closed; /* replied to: events of this direction are dropped */
};

struct filter_run {
    const struct filter_run_handler *handler;
    void *ctx;
    struct filter *filters; /* in the chain's order; the enabled ones, without the router */
    unsigned count;
    struct filter_flow request, response;
    struct filter_reply reply;
    bool is_over;
};

/* run is zeroed. env is copied into its arena; what it points to outlives the run. */
void filter_run_begin(struct filter_run *run, const struct hcm_cfg *hcm,
                      const struct filter_env *env, const struct filter_run_handler *handler,
                      void *ctx);
/* Events from downstream and from upstream. None may come in a direction that is held. */
void filter_run_request_headers(struct filter_run *run, struct http_request *request, bool end);
void filter_run_request_data(struct filter_run *run, const uint8_t *data, size_t n, bool end);
void filter_run_request_trailers(struct filter_run *run, struct headers *trailers);
void filter_run_response_headers(struct filter_run *run, struct http_response *response, bool end);
void filter_run_response_data(struct filter_run *run, const uint8_t *data, size_t n, bool end);
void filter_run_response_trailers(struct filter_run *run, struct headers *trailers);
bool filter_run_is_request_held(const struct filter_run *run);
/* Forgets what is held and tells each filter. Fine to call again. */
void filter_run_end(struct filter_run *run);

#endif
