/* What local_reply_config makes of an answer of our own: another status, another body, more headers. On the worker's loop; all that
 * is made lives in the exchange's arena. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/route/match.h"

struct view {
    struct exchange *x;
    const struct http_response *response; /* not the exchange's yet */
};

static struct str header_of(void *ctx, char which, struct str name)
{
    const struct view *v = ctx;
    if (which != 'r')
        return report_header(v->x, which, name);
    if (str_eq(name, STR(":status")))
        return arena_u64(v->x->arena, v->response->status);
    return headers_find(&v->response->headers, name);
}

static struct str formatted(struct exchange *x, const struct http_response *r, const struct text_format *f, struct str body)
{
    struct view view = {x, r};
    struct buf out = {0};
    x->info.local_reply_body = body;
    if (f->json)
        format_json_run(f->json, &x->info, header_of, &view, &out);
    else
        format_run(f->text, &x->info, header_of, &view, &out);
    x->info.local_reply_body = STR_NONE;
    struct str text = arena_str(x->arena, buf_str(&out));
    buf_fini(&out);
    return text;
}

static const struct local_reply_mapper *find_mapper(struct exchange *x)
{
    const struct local_reply_cfg *c = x->hcm->local_reply;
    const struct log_filter_input in = {&x->info, x->request, loop_now_ns(x->loop), &x->proxy->rng};
    for (unsigned i = 0; i < c->mapper_count; i++)
        if (log_filter_lets_pass(c->mappers[i].filter, &in))
            return &c->mappers[i];
    return NULL;
}

void local_reply_rewrite(struct exchange *x, struct http_response *r, struct str *body, struct str *content_type)
{
    const struct body_format *format = x->hcm->local_reply->format;
    x->info.response_code = r->status; /* which filters and formats look at */
    const struct local_reply_mapper *m = find_mapper(x);
    if (m) {
        if (m->has_body)
            *body = m->body;
        route_edit_response(&m->edits, x->request, r, x->arena, &x->info);
        if (m->status > 0)
            x->info.response_code = r->status = m->status;
        if (m->format)
            format = m->format;
    }
    if (!format)
        return;
    *body = formatted(x, r, &format->format, *body);
    *content_type = format->content_type;
}
