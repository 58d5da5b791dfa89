/* One attempt, for attempt.c (its request and its answer) and attempt_end.c (how it ends and what follows). */
#ifndef OUTRIGGER_PROXY_ATTEMPT_PRIV_H
#define OUTRIGGER_PROXY_ATTEMPT_PRIV_H

#include "sidecar/proxy/exchange_priv.h"

enum attempt_state { ATTEMPT_WAITING, ATTEMPT_ACTIVE, ATTEMPT_ENDED };

struct attempt {
    struct list link; /* exchange.hedged, while another attempt follows it and it still runs */
    struct exchange *x;
    enum attempt_state state;
    struct pool_request rq;
    struct host *host; /* good while the exchange holds the cluster */
    bool request_started, request_sent; /* something of it; all of it */
    bool committed, answer_ended;
    bool had_interim;
    bool is_hedged;    /* it took too long and another follows */
    bool down_paused;  /* downstream is not read because upstream does not take it */
    bool up_paused;    /* upstream is not read because downstream does not take it */
    struct timer per_try_timer, per_try_idle_timer, duration_timer;
};

/* ---- attempt_end.c ---- */

void attempt_init_timers(struct attempt *a);
/* It is over. Its stream is reset where it is still open; where both its sides have ended it is about to say so, and its
 * connection goes back to the pool. */
void attempt_end(struct attempt *a, enum stream_reset reason);
/* Its answer is the one: other attempts end, none follows. */
void attempt_win(struct attempt *a);
/* For the log: a host that was tried, not one whose queue was full. */
void attempt_note_host(struct attempt *a);
/* An answer came; true: it is not downstream's, the attempt has ended. */
bool attempt_answer_replaced(struct attempt *a, const struct retry_facts *facts, const struct http_response *response);
/* It broke before there was an answer. */
void attempt_fail(struct attempt *a, const struct retry_facts *facts, enum stream_reset reason, const char *detail);
/* pool_request_handler.on_failure. */
void attempt_on_no_stream(struct pool_request *rq, void *ctx, enum upstream_failure f, const char *detail);
void attempt_on_no_host(struct exchange *x);

#endif
