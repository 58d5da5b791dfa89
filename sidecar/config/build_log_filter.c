/* Envoy's AccessLogFilter out of protobuf. Main thread. */
#include "sidecar/config/build_log.h"

#include <string.h>

#define LOG(x) Envoy__Config__Accesslog__V3__##x
#define FILTER(x) ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_##x##_FILTER

struct builder {
    struct arena *arena;
    struct regex_pool *pool;
};

static bool build(const struct builder *b, const LOG(AccessLogFilter) *m, struct log_filter *f, struct err *err);

static bool read_comparison(const LOG(ComparisonFilter) *m, struct log_filter *f, struct err *err)
{
    if (!m)
        return err_set(err, "comparison: is required");
    if ((unsigned)m->op > LOG_NE)
        return err_set(err, "comparison.op: unknown, got %d", (int)m->op);
    f->compare = (enum log_compare)m->op;
    f->value = m->value ? m->value->default_value : 0;
    return true;
}

static bool read_flags(const LOG(ResponseFlagFilter) *m, struct log_filter *f, struct err *err)
{
    for (size_t i = 0; i < m->n_flags; i++) {
        unsigned flag = 0;
        while (flag < FLAG_COUNT && strcmp(response_flag_short((enum response_flag)flag), m->flags[i]) != 0)
            flag++;
        if (flag == FLAG_COUNT)
            return err_set(err, "flags[%zu]: not a response flag, got \"%s\"", i, m->flags[i]);
        f->mask |= (uint64_t)1 << flag;
    }
    return true;
}

static bool read_grpc_statuses(const LOG(GrpcStatusFilter) *m, struct log_filter *f, struct err *err)
{
    for (size_t i = 0; i < m->n_statuses; i++) {
        if ((unsigned)m->statuses[i] > ENVOY__CONFIG__ACCESSLOG__V3__GRPC_STATUS_FILTER__STATUS__UNAUTHENTICATED)
            return err_set(err, "statuses[%zu]: unknown, got %d", i, (int)m->statuses[i]);
        f->mask |= (uint64_t)1 << (unsigned)m->statuses[i];
    }
    f->is_excluding = m->exclude;
    return true;
}

static bool read_runtime(const LOG(RuntimeFilter) *m, struct log_filter *f, struct err *err)
{
    static const Envoy__Type__V3__FractionalPercent none = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__INIT;
    f->is_independent = m->use_independent_randomness;
    if (!m->runtime_key[0])
        return err_set(err, "runtime_key: is required");
    return build_fraction(m->percent_sampled ? m->percent_sampled : &none, &f->numerator, &f->denominator, err) ||
           err_prefix(err, "percent_sampled");
}

static bool read_parts(const struct builder *b, LOG(AccessLogFilter) **m, size_t count, struct log_filter *f, struct err *err)
{
    struct log_filter *parts = ARENA_ARRAY(b->arena, struct log_filter, count);
    if (count < 2)
        return err_set(err, "filters: at least two are required, got %zu", count);
    for (size_t i = 0; i < count; i++)
        if (!build(b, m[i], &parts[i], err))
            return err_prefix(err, "filters[%zu]", i);
    f->parts = parts;
    f->part_count = (unsigned)count;
    return true;
}

static bool build(const struct builder *b, const LOG(AccessLogFilter) *m, struct log_filter *f, struct err *err)
{
    switch (m->filter_specifier_case) {
    case FILTER(STATUS_CODE):
        f->kind = LOG_FILTER_STATUS;
        return read_comparison(m->status_code_filter->comparison, f, err) || err_prefix(err, "status_code_filter");
    case FILTER(DURATION):
        f->kind = LOG_FILTER_DURATION;
        return read_comparison(m->duration_filter->comparison, f, err) || err_prefix(err, "duration_filter");
    case FILTER(NOT_HEALTH_CHECK):
        f->kind = LOG_FILTER_NOT_HEALTH_CHECK;
        return true;
    case FILTER(RUNTIME):
        f->kind = LOG_FILTER_RUNTIME;
        return read_runtime(m->runtime_filter, f, err) || err_prefix(err, "runtime_filter");
    case FILTER(AND):
        f->kind = LOG_FILTER_AND;
        return read_parts(b, m->and_filter->filters, m->and_filter->n_filters, f, err) || err_prefix(err, "and_filter");
    case FILTER(OR):
        f->kind = LOG_FILTER_OR;
        return read_parts(b, m->or_filter->filters, m->or_filter->n_filters, f, err) || err_prefix(err, "or_filter");
    case FILTER(HEADER):
        f->kind = LOG_FILTER_HEADER;
        if (!m->header_filter->header)
            return err_set(err, "header_filter.header: is required");
        return build_header_match(m->header_filter->header, b->arena, b->pool, &f->header, err) ||
               err_prefix(err, "header_filter.header");
    case FILTER(RESPONSE_FLAG):
        f->kind = LOG_FILTER_FLAGS;
        return read_flags(m->response_flag_filter, f, err) || err_prefix(err, "response_flag_filter");
    case FILTER(GRPC_STATUS):
        f->kind = LOG_FILTER_GRPC_STATUS;
        return read_grpc_statuses(m->grpc_status_filter, f, err) || err_prefix(err, "grpc_status_filter");
    default:
        return err_set(err, "one of status_code_filter, duration_filter, not_health_check_filter, runtime_filter, and_filter, "
                            "or_filter, header_filter, response_flag_filter and grpc_status_filter is required");
    }
}

const struct log_filter *build_log_filter(const LOG(AccessLogFilter) *m, struct arena *a, struct regex_pool *pool,
                                          struct err *err)
{
    const struct builder b = {a, pool};
    struct log_filter *f = ARENA_NEW(a, struct log_filter);
    return build(&b, m, f, err) ? f : NULL;
}
