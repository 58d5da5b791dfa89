/* What the files of an exchange share: exchange.c (its life), request_head.c, attempt.c, body.c, deadlines.c, report.c. For
 * siblings only. */
#ifndef OUTRIGGER_PROXY_EXCHANGE_PRIV_H
#define OUTRIGGER_PROXY_EXCHANGE_PRIV_H

#include "sidecar/base/shared.h"
#include "sidecar/filter/filter_run.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/observe/stream_info.h"
#include "sidecar/proxy/body.h"
#include "sidecar/proxy/downstream.h"
#include "sidecar/proxy/exchange.h"
#include "sidecar/proxy/mirror.h"
#include "sidecar/proxy/overrides.h"
#include "sidecar/proxy/proxy.h"
#include "sidecar/resilience/retry.h"
#include "sidecar/route/match.h"
#include "sidecar/upstream/pool.h"
#include "sidecar/upstream/upstream.h"

enum exchange_state {
    EXCHANGE_NEW,        /* no head yet */
    EXCHANGE_FILTERING,  /* filters look at the request */
    EXCHANGE_TRYING,     /* an attempt is under way, or its back-off */
    EXCHANGE_RESPONDING, /* the response head went downstream */
    EXCHANGE_DONE,
    EXCHANGE_STATE_COUNT,
};

struct attempt;
struct follow_step;

struct exchange {
    struct downstream *d;
    struct proxy *proxy;
    struct loop *loop;
    unsigned row;
    const struct hcm_cfg *hcm;
    struct stream *down;
    struct arena *arena; /* all below lives in it */
    bool is_restarted;   /* the arena is another exchange's by now */
    enum exchange_state state;

    struct http_request *request; /* as filters and routes have changed it; empty before the head is here */
    bool request_ended;           /* its last byte or trailers came */
    bool is_tunnel;               /* asked to become one, and may */
    bool is_open_tunnel;          /* upstream agreed: each side ends by itself, in either order */
    bool is_sent_to_https;        /* require_tls: in place of a route */
    bool is_internal;             /* internal_address_config has its source */
    struct str remote_ip;         /* whose request it is, without port */
    struct body body;
    bool is_held;     /* downstream is not read because a filter holds the request */
    bool body_paused; /* downstream is not read because the body is at its limit */
    struct mirror_choice mirrors; /* to be sent once the whole request is here */
    struct filter_run run; /* begun once the route is chosen */

    struct holder *table_holder; /* of a table by name; NULL: the inline one */
    const struct route_table *table;
    struct route_choice choice;
    uint64_t random; /* one draw for split and fractions */
    struct cluster *cluster;
    uint64_t routed_ns; /* when the router had the whole request; 0: not yet */
    struct overrides overrides;
    const struct retry_policy *policy; /* NULL: none */
    struct retry retry;
    bool has_hash;
    uint64_t hash;
    struct str set_cookie;
    struct host **tried; /* each referenced */
    unsigned tried_count, tried_cap;
    struct attempt *attempt; /* under way; NULL: none, or waiting for the back-off */
    struct list hedged;      /* attempts beside it that took too long but may still answer */
    bool hedge_on_timeout;
    bool retry_is_asked_for;   /* the host of the last attempt said when to try again */
    bool retry_is_for_timeout; /* the retry that is due follows a per-try timeout */

    uint64_t route_timeout_ms, per_try_timeout_ms, per_try_idle_ms, idle_timeout_ms; /* 0: none */
    struct timer route_timer, idle_timer, duration_timer, request_timer, headers_timer, backoff_timer;

    uint32_t follow_count;                  /* how often it was redirected here before */
    const struct follow_step *follow_steps; /* and from where to where */

    bool is_answering;              /* an answer is on its way through the filters, or sent */
    bool is_own_answer;             /* not upstream's */
    struct http_response *response; /* NULL: none sent */
    bool response_ended;
    struct stream_info info;
};

/* ---- exchange.c ---- */
void exchange_set_state(struct exchange *x, enum exchange_state state);
/* An answer before the answer (1xx), past the filters. */
void exchange_send_interim(struct exchange *x, const struct http_response *response);
/* Once: the head that an attempt or a local reply made goes through the filters and the connection manager's changes
 * downstream; then data and trailers. */
void exchange_respond(struct exchange *x, struct http_response *response, bool end);
void exchange_send_data(struct exchange *x, const void *data, size_t n, bool end);
void exchange_send_trailers(struct exchange *x, struct headers *trailers);
/* Upstream's redirect is followed: the exchange is over, and another one, of the changed request, has its stream and its arena. */
void exchange_restart(struct exchange *x, struct http_request *request, struct http_response *redirect);
/* Cuts the downstream stream off: nothing proper can be said any more. */
void exchange_reset(struct exchange *x);

/* ---- request_head.c ---- */
/* What the connection manager does to a request head: false: it answered already. */
bool request_head_prepare(struct exchange *x);
/* The same of one that was redirected here: who sent it is known. */
bool request_head_prepare_again(struct exchange *x);
/* client_cert.c: what becomes of x-forwarded-client-cert. */
void client_cert_forward(struct exchange *x);
/* Adds the connection manager's name to those that the message passed. */
void request_head_append_via(const struct exchange *x, struct headers *h);
/* The router's headers towards upstream. */
void request_head_finish(struct exchange *x);
/* Tells upstream how long the answer may take: what is left of it, before each try. */
void request_head_set_timeout(struct exchange *x);

/* ---- attempt.c ---- */
void attempt_start(struct exchange *x);
/* Ends those under way, and the back-off, without a verdict on them. */
void attempt_cancel(struct exchange *x, enum stream_reset reason);
void attempt_on_body(struct exchange *x, const uint8_t *data, size_t n, bool end);
void attempt_on_trailers(struct exchange *x);
void attempt_down_above_high(struct exchange *x);
void attempt_down_below_low(struct exchange *x);
/* The body is longer than what may be kept: no retries and mirrors; 507 while there is nobody to send it to. */
void attempt_on_long_body(struct exchange *x);
/* The route timeout fired while it was under way. */
void attempt_on_route_timeout(struct exchange *x);
bool attempt_has_stream(const struct exchange *x);
/* A filter holds the answer, or lets it go on. */
void attempt_on_response_hold(struct exchange *x, bool is_held);

/* ---- follow.c ---- */
/* For a route that follows redirects. true: this answer is one that is followed, and the exchange is over. */
bool follow_redirect(struct exchange *x, struct http_response *response);

/* ---- deadlines.c ---- */
/* From the route: which timeouts this request has. */
void deadlines_choose(struct exchange *x);
/* With the first byte of the request. */
void deadlines_begin(struct exchange *x);
void deadlines_on_request_head(struct exchange *x);
void deadlines_on_request_end(struct exchange *x);
void deadlines_on_activity(struct exchange *x);
void deadlines_stop(struct exchange *x);

/* ---- local_reply.c ---- */
/* Where local_reply_config is given. body and content_type are replaced. */
void local_reply_rewrite(struct exchange *x, struct http_response *r, struct str *body, struct str *content_type);

/* ---- report.c ---- */
/* Answers for ourselves. body and details must be literals or live in the arena. A reply is made, perhaps added to, and sent;
 * grpc_status -1: to gRPC requests, by the status. */
struct http_response *report_reply_new(struct exchange *x, unsigned status);
void report_reply_send(struct exchange *x, struct http_response *r, int32_t grpc_status, struct str body, const char *details);
/* An upstream's answer whose body is not passed on. */
void report_reply_without_body(struct exchange *x, struct http_response *r, const char *details);
/* Both at once; nothing where an answer was begun. */
void report_local_reply(struct exchange *x, unsigned status, struct str body, const char *details);
void report_filter_reply(struct exchange *x, const struct filter_reply *reply);
/* The reply for an attempt that ended without a response head. */
unsigned report_failure_code(enum stream_reset reason);
void report_failure(struct exchange *x, enum stream_reset reason, const char *transport_failure);
/* drop_overloads of the endpoints: 503 DO, or UDO where all requests are dropped. */
void report_drop_overload(struct exchange *x, bool is_unconditional);
/* An attempt's answer: counted for the cluster. replaced: a retry follows. */
void report_upstream_code(struct exchange *x, unsigned status, bool replaced);
/* "WHAT{REASON|TRANSPORT}" with underscores, in the arena. */
struct str report_reset_details(struct exchange *x, const char *what, enum stream_reset reason, const char *transport_failure);
void report_response_head(struct exchange *x, struct http_response *response);
/* The exchange ends in a redirect that is followed. */
void report_restart(struct exchange *x, struct http_response *redirect);
void report_finish(struct exchange *x, enum stream_reset reason, const char *details);
struct str report_header(void *ctx, char which, struct str name);

#endif
