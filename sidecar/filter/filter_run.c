/* Events on their way through the filters of one exchange.
 *
 * On the worker, within the exchange. A direction is open, held (one event waits at one filter) or
 * closed (a filter replied). Every hook and every callback may end the run, so is_over is looked at
 * after each. */
#include "sidecar/filter/filter_run.h"

#include "sidecar/base/die.h"

/* An event on its way. */
struct event {
    enum filter_event kind;
    bool is_request;
    void *message; /* headers, trailers */
    const uint8_t *data;
    size_t n;
    bool end;
};

/* ---- Beginning. ---- */

static void add_override(struct filter *f, void *const *configs)
{
    if (configs && configs[f->cfg->index])
        f->overrides[f->override_count++] = configs[f->cfg->index];
}

static void collect_overrides(struct filter *f, const struct filter_env *env)
{
    const struct route_choice *c = env->choice;
    if (c->weighted)
        add_override(f, c->weighted->filter_configs);
    if (c->route)
        add_override(f, c->route->filter_configs);
    if (c->vhost)
        add_override(f, c->vhost->filter_configs);
    if (env->routes)
        add_override(f, env->routes->filter_configs);
}

void filter_run_begin(struct filter_run *run, const struct hcm_cfg *hcm,
                      const struct filter_env *env, const struct filter_run_handler *handler,
                      void *ctx)
{
    run->handler = handler;
    run->ctx = ctx;
    run->reply.grpc_status = -1;
    if (hcm->filter_count <= 1) /* the router alone */
        return;
    struct filter_env *own = arena_memdup(env->arena, env, sizeof(*env));
    run->filters = ARENA_ARRAY(env->arena, struct filter, hcm->filter_count);
    for (unsigned i = 0; i < hcm->filter_count; i++) {
        const struct filter_instance_cfg *cfg = hcm->filters[i];
        struct filter *f = &run->filters[run->count];
        *f = (struct filter){.cfg = cfg, .env = own, .run = run};
        collect_overrides(f, own);
        if (!cfg->filter->terminal && (!cfg->disabled || f->override_count > 0))
            run->count++;
    }
}

/* ---- The walk. ---- */

static enum filter_verdict call_request(struct filter *f, const struct event *e)
{
    const struct filter_vtable *v = f->cfg->filter;
    switch (e->kind) {
    case FILTER_EVENT_HEADERS:
        return v->on_request_headers ? v->on_request_headers(f, e->message, e->end)
                                     : FILTER_CONTINUE;
    case FILTER_EVENT_DATA:
        return v->on_request_data ? v->on_request_data(f, e->data, e->n, e->end) : FILTER_CONTINUE;
    case FILTER_EVENT_TRAILERS:
        return v->on_request_trailers ? v->on_request_trailers(f, e->message) : FILTER_CONTINUE;
    case FILTER_EVENT_NONE:
        break;
    }
    die("no event to hand to %s", v->name);
}

static enum filter_verdict call_response(struct filter *f, const struct event *e)
{
    const struct filter_vtable *v = f->cfg->filter;
    switch (e->kind) {
    case FILTER_EVENT_HEADERS:
        return v->on_response_headers ? v->on_response_headers(f, e->message, e->end)
                                      : FILTER_CONTINUE;
    case FILTER_EVENT_DATA:
        return v->on_response_data ? v->on_response_data(f, e->data, e->n, e->end)
                                   : FILTER_CONTINUE;
    case FILTER_EVENT_TRAILERS:
        return v->on_response_trailers ? v->on_response_trailers(f, e->message) : FILTER_CONTINUE;
    case FILTER_EVENT_NONE:
        break;
    }
    die("no event to hand to %s", v->name);
}

static void deliver_request(struct filter_run *run, const struct event *e)
{
    const struct filter_run_handler *h = run->handler;
    if (e->kind == FILTER_EVENT_HEADERS)
        h->on_request_headers(run->ctx, e->message, e->end);
    else if (e->kind == FILTER_EVENT_DATA)
        h->on_request_data(run->ctx, e->data, e->n, e->end);
    else
        h->on_request_trailers(run->ctx, e->message);
}

static void deliver_response(struct filter_run *run, const struct event *e)
{
    const struct filter_run_handler *h = run->handler;
    if (e->kind == FILTER_EVENT_HEADERS)
        h->on_response_headers(run->ctx, e->message, e->end);
    else if (e->kind == FILTER_EVENT_DATA)
        h->on_response_data(run->ctx, e->data, e->n, e->end);
    else
        h->on_response_trailers(run->ctx, e->message);
}

static void tell_hold(struct filter_run *run, bool is_request, bool is_held)
{
    struct filter_flow *flow = is_request ? &run->request : &run->response;
    if (flow->is_told == is_held)
        return;
    flow->is_told = is_held;
    (is_request ? run->handler->on_request_hold : run->handler->on_response_hold)(run->ctx,
                                                                                  is_held);
}

static void send_reply(struct filter_run *run)
{
    run->request.is_closed = true;
    tell_hold(run, true, false);
    if (!run->is_over)
        run->handler->on_reply(run->ctx, &run->reply);
}

static void hold(struct filter_run *run, struct filter_flow *flow, const struct event *e,
                 unsigned step)
{
    flow->held = e->kind;
    flow->step = step;
    flow->message = e->message;
    flow->end = e->end;
    if (e->kind == FILTER_EVENT_DATA)
        buf_append(&flow->data, e->data, e->n);
    tell_hold(run, e->is_request, true);
}

/* From the step-th filter on, seen in the event's direction. */
static void walk(struct filter_run *run, const struct event *e, unsigned step)
{
    struct filter_flow *flow = e->is_request ? &run->request : &run->response;
    assert(flow->held == FILTER_EVENT_NONE);
    while (step < run->count) {
        struct filter *f = &run->filters[e->is_request ? step : run->count - 1 - step];
        enum filter_verdict v = e->is_request ? call_request(f, e) : call_response(f, e);
        step++;
        if (run->is_over)
            return;
        if (v == FILTER_PAUSE) {
            hold(run, flow, e, step);
            return;
        }
        if (v == FILTER_REPLY) {
            assert(e->is_request);
            send_reply(run);
            return;
        }
    }
    (e->is_request ? deliver_request : deliver_response)(run, e);
}

static void start(struct filter_run *run, const struct event *e)
{
    if (!run->is_over && !(e->is_request ? run->request : run->response).is_closed)
        walk(run, e, 0);
}

static void resume(struct filter_run *run, struct filter_flow *flow, bool is_request)
{
    assert(flow->held != FILTER_EVENT_NONE);
    struct buf data = flow->data; /* a later filter may hold again */
    flow->data = (struct buf){0};
    struct event e = {.kind = flow->held,
                      .is_request = is_request,
                      .message = flow->message,
                      .data = buf_head(&data),
                      .n = buf_len(&data),
                      .end = flow->end};
    flow->held = FILTER_EVENT_NONE;
    walk(run, &e, flow->step);
    buf_fini(&data);
    if (!run->is_over && flow->held == FILTER_EVENT_NONE)
        tell_hold(run, is_request, false);
}

/* ---- For filters. ---- */

void filter_resume_request(struct filter *f)
{
    resume(f->run, &f->run->request, true);
}

void filter_resume_response(struct filter *f)
{
    resume(f->run, &f->run->response, false);
}

struct filter_reply *filter_reply_of(struct filter *f)
{
    return &f->run->reply;
}

void filter_send_reply(struct filter *f)
{
    struct filter_run *run = f->run;
    assert(run->request.held != FILTER_EVENT_NONE);
    run->request.held = FILTER_EVENT_NONE;
    buf_fini(&run->request.data);
    send_reply(run);
}

/* ---- For the exchange. ---- */

void filter_run_request_headers(struct filter_run *run, struct http_request *request, bool end)
{
    start(run, &(struct event){FILTER_EVENT_HEADERS, true, request, NULL, 0, end});
}

void filter_run_request_data(struct filter_run *run, const uint8_t *data, size_t n, bool end)
{
    start(run, &(struct event){FILTER_EVENT_DATA, true, NULL, data, n, end});
}

void filter_run_request_trailers(struct filter_run *run, struct headers *trailers)
{
    start(run, &(struct event){FILTER_EVENT_TRAILERS, true, trailers, NULL, 0, true});
}

void filter_run_response_headers(struct filter_run *run, struct http_response *response, bool end)
{
    start(run, &(struct event){FILTER_EVENT_HEADERS, false, response, NULL, 0, end});
}

void filter_run_response_data(struct filter_run *run, const uint8_t *data, size_t n, bool end)
{
    start(run, &(struct event){FILTER_EVENT_DATA, false, NULL, data, n, end});
}

void filter_run_response_trailers(struct filter_run *run, struct headers *trailers)
{
    start(run, &(struct event){FILTER_EVENT_TRAILERS, false, trailers, NULL, 0, true});
}

bool filter_run_is_request_held(const struct filter_run *run)
{
    return run->request.held != FILTER_EVENT_NONE;
}

void filter_run_end(struct filter_run *run)
{
    if (run->is_over)
        return;
    run->is_over = true;
    buf_fini(&run->request.data);
    buf_fini(&run->response.data);
    for (unsigned i = 0; i < run->count; i++)
        if (run->filters[i].cfg->filter->on_end)
            run->filters[i].cfg->filter->on_end(&run->filters[i]);
}
