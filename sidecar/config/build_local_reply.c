/* Envoy's LocalReplyConfig out of protobuf. Main thread. */
#include "sidecar/config/build_log.h"
#include "sidecar/config/build_value.h"

#define HCM(name) Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__##name

static const struct body_format *build_body_format(const Envoy__Config__Core__V3__SubstitutionFormatString *m, struct arena *a,
                                                   struct err *err)
{
    struct body_format *to = ARENA_NEW(a, struct body_format);
    if (!build_format(m, a, &to->format, err))
        return NULL;
    to->content_type = to->format.json ? STR("application/json") : STR("text/plain");
    if (m->content_type[0])
        to->content_type = arena_str(a, str_of(m->content_type));
    return to;
}

static bool build_mapper(const HCM(ResponseMapper) *m, struct arena *a, struct regex_pool *pool, struct local_reply_mapper *to,
                         struct err *err)
{
    if (!m->filter)
        return err_set(err, "filter: is required");
    to->filter = build_log_filter(m->filter, a, pool, err);
    if (!to->filter)
        return err_prefix(err, "filter");
    uint32_t status = value_u32(m->status_code, 0);
    if (m->status_code && (status < 200 || status >= 600))
        return err_set(err, "status_code: must be in 200..599, got %u", status);
    to->status = (uint16_t)status;
    to->has_body = m->body != NULL;
    if (m->body && !build_inline_data(m->body, a, &to->body, err))
        return err_prefix(err, "body");
    if (m->body_format_override) {
        to->format = build_body_format(m->body_format_override, a, err);
        if (!to->format)
            return err_prefix(err, "body_format_override");
    }
    return build_header_edits(m->headers_to_add, m->n_headers_to_add, NULL, 0, a, &to->edits, "", err);
}

bool build_local_reply(const HCM(LocalReplyConfig) *m, struct arena *a, struct regex_pool *pool,
                       const struct local_reply_cfg **cfg_r, struct err *err)
{
    struct local_reply_cfg *c = ARENA_NEW(a, struct local_reply_cfg);
    c->mappers = ARENA_ARRAY(a, struct local_reply_mapper, m->n_mappers);
    c->mapper_count = (unsigned)m->n_mappers;
    for (size_t i = 0; i < m->n_mappers; i++)
        if (!build_mapper(m->mappers[i], a, pool, &c->mappers[i], err))
            return err_prefix(err, "local_reply_config.mappers[%zu]", i);
    if (m->body_format) {
        c->format = build_body_format(m->body_format, a, err);
        if (!c->format)
            return err_prefix(err, "local_reply_config.body_format");
    }
    *cfg_r = c;
    return true;
}
