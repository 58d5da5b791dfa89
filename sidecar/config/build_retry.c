/* What a route does besides sending a request once: retries, hedging, mirrors. Main thread. */
#include "sidecar/config/build_route_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include "proto/codec.h"
#include "proto/omit_canary_hosts.pb-c.h"
#include "proto/omit_host_metadata.pb-c.h"
#include "proto/previous_hosts.pb-c.h"
#include "proto/previous_priorities.pb-c.h"

/* ---- Retries. ---- */

/* Envoy passes over words that it does not know; so do we, with a warning that names the word. */
static uint32_t retry_words(const char *list)
{
    uint32_t on = 0;
    struct str rest = str_of(list), word;
    while (str_next(&rest, ',', &word)) {
        uint32_t bit = retry_on_word(str_trim(word));
        if (!bit && str_trim(word).n > 0)
            log_warn(LOG_CONFIG, "retry_on: unknown word \"%.*s\" has no effect", STR_FMT(str_trim(word)));
        on |= bit;
    }
    return on;
}

static bool retry_header_matches(struct route_builder *b, Envoy__Config__Route__V3__HeaderMatcher **m, size_t count,
                                 struct header_match **v_r, unsigned *count_r, const char *path, struct err *err)
{
    *v_r = ARENA_ARRAY(b->table->arena, struct header_match, count);
    *count_r = (unsigned)count;
    for (size_t i = 0; i < count; i++)
        if (!build_header_match(m[i], b->table->arena, &b->regexes, &(*v_r)[i], err))
            return err_prefix(err, "%s[%zu]", path, i);
    return true;
}

#define PREDICATE(x) envoy__extensions__retry__host__##x##__descriptor

static bool retry_host(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy__RetryHostPredicate *m,
                       struct avoid *to, struct err *err)
{
    const Google__Protobuf__Any *any = m->typed_config;
    struct str type = any ? build_type_of(any) : STR_NONE;
    if (str_eq_c(type, PREDICATE(previous_hosts__v3__previous_hosts_predicate).name)) {
        to->previous_hosts = true;
        return true;
    }
    if (str_eq_c(type, PREDICATE(omit_canary_hosts__v3__omit_canary_hosts_predicate).name)) {
        to->canaries = true;
        return true;
    }
    if (!str_eq_c(type, PREDICATE(omit_host_metadata__v3__omit_host_metadata_config).name))
        return err_set(err, "only previous_hosts, omit_canary_hosts and omit_host_metadata are supported, got \"%s\"",
                       m->name);
    const Envoy__Extensions__Retry__Host__OmitHostMetadata__V3__OmitHostMetadataConfig *config = (const void *)build_any(
        any, &PREDICATE(omit_host_metadata__v3__omit_host_metadata_config), b->scratch, err);
    struct subset_criteria *labels = config ? build_criteria(config->metadata_match, b->table->arena) : NULL;
    if (labels && labels->count > 0) /* as in Envoy: nothing to match omits nobody */
        to->labels[to->label_count++] = labels;
    return config != NULL;
}

static bool retry_hosts(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy *m, struct retry_policy *p,
                        struct err *err)
{
    if (m->host_selection_retry_max_attempts < 0 || m->host_selection_retry_max_attempts > UINT32_MAX)
        return err_set(err, "host_selection_retry_max_attempts: out of range, got %lld",
                       (long long)m->host_selection_retry_max_attempts);
    p->host_selection_attempts =
        m->host_selection_retry_max_attempts ? (uint32_t)m->host_selection_retry_max_attempts : 1;
    p->avoid.labels = ARENA_ARRAY(b->table->arena, struct subset_criteria *, m->n_retry_host_predicate);
    for (size_t i = 0; i < m->n_retry_host_predicate; i++)
        if (!retry_host(b, m->retry_host_predicate[i], &p->avoid, err))
            return err_prefix(err, "retry_host_predicate[%zu]", i);
    return true;
}

static bool retry_priority(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy__RetryPriority *m,
                           struct retry_policy *p, struct err *err)
{
    if (!m)
        return true;
    const Envoy__Extensions__Retry__Priority__PreviousPriorities__V3__PreviousPrioritiesConfig *config = (const void *)
        build_any(m->typed_config,
                  &envoy__extensions__retry__priority__previous_priorities__v3__previous_priorities_config__descriptor,
                  b->scratch, err);
    if (!config)
        return err_prefix(err, "retry_priority");
    if (config->update_frequency <= 0)
        return err_set(err, "retry_priority.update_frequency: must be at least 1, got %d", (int)config->update_frequency);
    p->avoid.priority_frequency = (uint32_t)config->update_frequency;
    return true;
}

static bool retry_backoff(const Envoy__Config__Route__V3__RetryPolicy *m, struct retry_policy *p, struct err *err)
{
    p->backoff_base_ms = 25;
    if (m->retry_back_off) {
        p->backoff_base_ms = codec_duration_ms(m->retry_back_off->base_interval, 0);
        if (p->backoff_base_ms == 0)
            return err_set(err, "retry_back_off.base_interval: is required and greater than 0s");
    }
    p->backoff_max_ms = p->backoff_base_ms * 10;
    if (m->retry_back_off && m->retry_back_off->max_interval) {
        p->backoff_max_ms = codec_duration_ms(m->retry_back_off->max_interval, 0);
        if (p->backoff_max_ms < p->backoff_base_ms)
            return err_set(err, "retry_back_off.max_interval: must not be below base_interval");
    }
    return true;
}

/* Headers by which an overloaded host says when to come back. */
static bool retry_resets(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy__RateLimitedRetryBackOff *m,
                         struct retry_policy *p, struct err *err)
{
    struct arena *a = b->table->arena;
    if (!m)
        return true;
    if (m->n_reset_headers == 0)
        return err_set(err, "rate_limited_retry_back_off.reset_headers: at least one is required");
    p->resets = ARENA_ARRAY(a, struct retry_reset_header, m->n_reset_headers);
    for (size_t i = 0; i < m->n_reset_headers; i++) {
        struct retry_reset_header *to = &p->resets[p->reset_count++];
        char *lower = arena_strdup(a, m->reset_headers[i]->name);
        to->name = str_of(lower);
        ascii_lower_n(lower, to->name.n);
        to->is_timestamp = m->reset_headers[i]->format ==
                           ENVOY__CONFIG__ROUTE__V3__RETRY_POLICY__RESET_HEADER_FORMAT__UNIX_TIMESTAMP;
        if (to->name.n == 0)
            return err_set(err, "rate_limited_retry_back_off.reset_headers[%zu].name: is required", i);
    }
    p->reset_max_ms = codec_duration_ms(m->max_interval, 300000);
    return p->reset_max_ms > 0 || err_set(err, "rate_limited_retry_back_off.max_interval: must be greater than 0s");
}

const struct retry_policy *route_build_retry(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy *m,
                                             struct err *err)
{
    struct arena *a = b->table->arena;
    struct retry_policy *p = ARENA_NEW(a, struct retry_policy);
    p->on = retry_words(m->retry_on);
    p->num_retries = value_u32(m->num_retries, 1);
    p->per_try_timeout_ms = codec_duration_ms(m->per_try_timeout, 0);
    p->per_try_idle_timeout_ms = codec_duration_ms(m->per_try_idle_timeout, 0);
    p->status_code_count = (unsigned)m->n_retriable_status_codes;
    p->status_codes = ARENA_ARRAY(a, uint16_t, p->status_code_count);
    for (unsigned i = 0; i < p->status_code_count; i++) {
        if (m->retriable_status_codes[i] < 100 || m->retriable_status_codes[i] > 599) {
            err_set(err, "retriable_status_codes[%u]: a status of 100 to 599, got %u", i, m->retriable_status_codes[i]);
            return NULL;
        }
        p->status_codes[i] = (uint16_t)m->retriable_status_codes[i];
    }
    if (!retry_hosts(b, m, p, err) || !retry_priority(b, m->retry_priority, p, err) || !retry_backoff(m, p, err) || !retry_resets(b, m->rate_limited_retry_back_off, p, err) ||
        !retry_header_matches(b, m->retriable_headers, m->n_retriable_headers, &p->retriable_headers,
                              &p->retriable_header_count, "retriable_headers", err) ||
        !retry_header_matches(b, m->retriable_request_headers, m->n_retriable_request_headers,
                              &p->retriable_request_headers, &p->retriable_request_header_count,
                              "retriable_request_headers", err))
        return NULL;
    return p;
}

enum hedge route_build_hedge(const Envoy__Config__Route__V3__HedgePolicy *m)
{
    if (!m)
        return HEDGE_UNSET;
    return m->hedge_on_per_try_timeout ? HEDGE_ON_PER_TRY_TIMEOUT : HEDGE_OFF;
}

void route_build_buffer_limit(const Google__Protobuf__UInt32Value *m, bool *given_r, uint32_t *limit_bytes_r)
{
    *given_r = m != NULL;
    *limit_bytes_r = value_u32(m, 0);
}

/* ---- Mirrors. ---- */

bool route_build_mirrors(struct route_builder *b, Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy **m,
                         size_t count, struct mirror_policy **v_r, unsigned *count_r, struct err *err)
{
    *v_r = ARENA_ARRAY(b->table->arena, struct mirror_policy, count);
    *count_r = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        struct mirror_policy *p = &(*v_r)[i];
        if (!m[i]->cluster[0])
            return err_set(err, "request_mirror_policies[%zu].cluster: is required", i);
        p->cluster = arena_str(b->table->arena, str_of(m[i]->cluster));
        p->no_host_suffix = m[i]->disable_shadow_host_suffix_append;
        if (m[i]->runtime_fraction && !build_fraction(m[i]->runtime_fraction->default_value, &p->fraction_numerator,
                                                      &p->fraction_denominator, err))
            return err_prefix(err, "request_mirror_policies[%zu].runtime_fraction.default_value", i);
    }
    return true;
}
