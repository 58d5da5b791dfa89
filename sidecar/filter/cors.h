/* The CORS filter: answers preflights, and tells browsers who may read an answer. */
#ifndef OUTRIGGER_FILTER_CORS_H
#define OUTRIGGER_FILTER_CORS_H

#include "sidecar/filter/filter.h"

/* A CorsPolicy of a route, virtual host or table. What one leaves open the next less specific one
 * may fill. */
struct cors_policy {
    struct str_match *origins;
    unsigned origin_count;
    struct str allow_methods, allow_headers, expose_headers, max_age;    /* empty: not given */
    int8_t allow_credentials, allow_private_network, forward_preflights; /* -1: not given */
    uint32_t enabled_numerator, enabled_denominator;
    uint32_t shadow_numerator, shadow_denominator;
    struct regex **regexes;
    unsigned regex_count;
};

extern const struct filter_vtable filter_cors;

#endif
