/* Hosts and random numbers for the tests of balancing. */
#ifndef OUTRIGGER_TESTS_BALANCE_SUPPORT_H
#define OUTRIGGER_TESTS_BALANCE_SUPPORT_H

#include "sidecar/balance/hostset.h"
#include "sidecar/balance/lb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOSTS_MAX 64

/* Hosts 127.0.0.1:11001 and up; count tells how many of them are unused again. */
struct fixture {
    struct host hosts[HOSTS_MAX];
    struct hostset_member members[HOSTS_MAX];
    unsigned count;
    _Atomic uint64_t epoch; /* of the hosts' health */
    uint64_t random[64]; /* answered in turn, over and over */
    unsigned random_count, random_at;
};

static unsigned unused_hosts;

static inline void drop_host(struct host *h)
{
    unused_hosts += host_drop(h);
}

static inline void fixture_add(struct fixture *f, uint32_t priority, uint32_t weight,
                               enum host_health health)
{
    assert_true(f->count < HOSTS_MAX);
    char text[32];
    snprintf(text, sizeof(text), "127.0.0.1:%u", 11001 + f->count);
    struct addr addr;
    assert_true(addr_parse(str_of(text), &addr));
    host_init(&f->hosts[f->count], &addr, drop_host);
    f->hosts[f->count].health_epoch = &f->epoch;
    f->members[f->count] = (struct hostset_member){
        .host = &f->hosts[f->count], .weight = weight, .priority = priority, .health = health};
    f->count++;
}

static inline uint64_t fixture_random(void *ctx)
{
    struct fixture *f = ctx;
    return f->random_count ? f->random[f->random_at++ % f->random_count] : 0;
}

static inline struct hostset_options options_of(enum balance_policy policy)
{
    return (struct hostset_options){.policy = policy,
                                    .overprovisioning_factor = 140,
                                    .panic_threshold = 50,
                                    .choice_count = 2,
                                    .active_request_bias = 1,
                                    .ring_min = 1024,
                                    .ring_max = 8u << 20,
                                    .maglev_table_size = 65537};
}

static inline struct hostset *fixture_set(struct fixture *f, const struct hostset_options *o)
{
    return hostset_new(o, f->members, f->count, NULL, 0);
}

/* 1 for the first host, and so on; 0 for none. */
static inline unsigned fixture_number(const struct fixture *f, const struct host *h)
{
    return h ? (unsigned)(h - f->hosts) + 1 : 0;
}

/* A balancer of what the fixture holds. */
static inline struct lb *fixture_lb(struct fixture *f, const struct hostset_options *o)
{
    struct lb *lb = lb_new(fixture_random, f);
    struct hostset *s = fixture_set(f, o);
    lb_update(lb, s);
    hostset_unref(&s);
    return lb;
}

/* Healthy hosts of these weights, a digit each. */
static inline void fixture_weights(struct fixture *f, const char *weights)
{
    for (const char *p = weights; *p; p++)
        fixture_add(f, 0, (uint32_t)(*p - '0'), HOST_HEALTHY);
}

#endif
