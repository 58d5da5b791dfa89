/* Owns nothing; any thread. */
#include "sidecar/filter/log_filter.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/route/match.h"

#define NS_PER_MS 1000000u

static bool compare(const struct log_filter *f, uint64_t value)
{
    switch (f->compare) {
    case LOG_EQ:
        return value == f->value;
    case LOG_GE:
        return value >= f->value;
    case LOG_LE:
        return value <= f->value;
    case LOG_NE:
        return value != f->value;
    }
    die("no comparison %d", (int)f->compare);
}

static uint64_t duration_ms(const struct log_filter_input *in)
{
    uint64_t end_ns = in->info->end_ns > 0 ? in->info->end_ns : in->now_ns;
    return end_ns > in->info->start_ns ? (end_ns - in->info->start_ns) / NS_PER_MS : 0;
}

/* By the id of the request where it begins as a UUID does, so that all who see the request draw the same. */
static uint64_t draw(const struct log_filter *f, const struct log_filter_input *in)
{
    struct str id = in->info->request_id;
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        int digit = !f->is_independent && i < id.n ? ascii_hex(id.p[i]) : -1;
        if (digit < 0)
            return rng_u64(in->rng);
        value = value << 4 | (uint64_t)digit;
    }
    return value;
}

static bool has_header(const struct log_filter *f, const struct http_request *request)
{
    static const struct http_request nothing;
    return header_match_check(&f->header, request ? request : &nothing);
}

static bool has_grpc_status(const struct log_filter *f, const struct stream_info *info)
{
    int status = info->grpc_status;
    if (status < 0)
        status = info->response_code > 0 ? (int)grpc_status_of_http(info->response_code) : GRPC_UNKNOWN;
    bool is_listed = status < 64 && (f->mask >> status & 1);
    return is_listed != f->is_excluding;
}

static bool parts_let_pass(const struct log_filter *f, const struct log_filter_input *in)
{
    bool is_or = f->kind == LOG_FILTER_OR;
    for (unsigned i = 0; i < f->part_count; i++)
        if (log_filter_lets_pass(&f->parts[i], in) == is_or)
            return is_or;
    return !is_or;
}

bool log_filter_lets_pass(const struct log_filter *f, const struct log_filter_input *in)
{
    switch (f->kind) {
    case LOG_FILTER_STATUS:
        return compare(f, in->info->response_code);
    case LOG_FILTER_DURATION:
        return compare(f, duration_ms(in));
    case LOG_FILTER_NOT_HEALTH_CHECK:
        return true; /* no filter here answers health checks */
    case LOG_FILTER_RUNTIME:
        return draw(f, in) % f->denominator < f->numerator;
    case LOG_FILTER_AND:
    case LOG_FILTER_OR:
        return parts_let_pass(f, in);
    case LOG_FILTER_HEADER:
        return has_header(f, in->request);
    case LOG_FILTER_FLAGS:
        return f->mask ? (in->info->flags & f->mask) != 0 : in->info->flags != 0;
    case LOG_FILTER_GRPC_STATUS:
        return has_grpc_status(f, in->info);
    }
    die("no log filter %d", (int)f->kind);
}
