/* What one stream wants of one type, what it was sent, and what it said to that. No sockets: asked for a plan, it says what is to
 * be sent now. Rules of the xDS protocol for both variants. */
#ifndef OUTRIGGER_CONTROL_ADS_SERVER_SUBSCRIPTION_H
#define OUTRIGGER_CONTROL_ADS_SERVER_SUBSCRIPTION_H

#include "control/cache/cache.h"

#define SUBSCRIPTION_NAMES_MAX 100000u

/* What is known of one name. */
struct entry {
    bool is_wanted;       /* named by the client */
    bool is_forced;       /* goes out with the next response, changed or not */
    bool has;             /* the client has a version of it */
    bool is_told_missing; /* the client knows that there is none */
    uint64_t hash;        /* of what it has */
    struct resource *resource; /* what it has; NULL where that was sent on an earlier stream */
};

struct subscription {
    enum resource_type type;
    bool is_delta;
    bool is_asked;    /* a request of this type came */
    bool is_wildcard;
    bool has_named;   /* names were given once: an empty list is no wildcard any more */
    bool has_known;   /* the client brought versions from an earlier stream */
    bool must_answer; /* a request waits for its answer */
    bool answer_all;  /* and wants everything */
    struct table entries; /* name -> struct entry */
    unsigned wanted_count, forced_count;
    uint64_t nonce_sent, nonce_answered;
    struct cache_mark seen; /* at the last look that found nothing to do */
    bool is_seen;
    uint64_t version_sent, version_acked; /* generations of the cache */
    char *nack;       /* why the newest response was refused; NULL: it was not */
    uint64_t answered_us; /* wall clock of the last answer */
};

void subscription_init(struct subscription *s, enum resource_type type, bool is_delta);
void subscription_fini(struct subscription *s);

/* ---- Requests. False with err where a bound is passed. ---- */

/* Delta: one more name, or "*". Asked for again, it is sent again. */
bool subscription_add(struct subscription *s, struct str name, struct err *err);
void subscription_remove(struct subscription *s, struct str name);
/* The client has this version from an earlier stream: after the names of the same request. */
void subscription_know(struct subscription *s, struct str name, struct str version);
/* State of the world: the whole list; an empty one is everything for clusters and listeners until names were given. */
bool subscription_set(struct subscription *s, size_t count, char *const *names, bool is_first, struct err *err);

/* An answer to the response with this nonce; error NULL: it was accepted. False: the nonce is none of ours or an old one. */
bool subscription_answered(struct subscription *s, struct str nonce, const char *error, uint64_t now_us);
bool subscription_is_outstanding(const struct subscription *s);

/* ---- Plans. ---- */

struct plan {
    struct arena *arena;
    struct resource **send; /* counted for the plan: plan_fini */
    size_t send_count;
    struct str *removed; /* told by name, in delta */
    size_t removed_count;
};
void plan_init(struct plan *plan, struct arena *arena);
void plan_fini(struct plan *plan);

enum plan_scope {
    PLAN_ANSWER,        /* what a request waits for */
    PLAN_ALL,           /* everything that changed */
    PLAN_NO_REMOVALS,   /* the same, but nothing goes yet */
};
/* What to send, given what the client has. Nothing is marked as sent. False: there is nothing to send. A request gets its answer
 * even where that is empty, so that nobody waits; but not where the client has all of it from before. */
bool subscription_plan(struct subscription *s, const struct cache_client *client, enum plan_scope scope, struct plan *plan);
/* The plan goes out as one response; its nonce. */
uint64_t subscription_commit(struct subscription *s, const struct plan *plan, uint64_t version);
/* Whether anything may have changed since the last look that found nothing: false saves the look. */
bool subscription_is_stale(const struct subscription *s, const struct cache_client *client);
/* A look at everything found nothing to do. */
void subscription_settle(struct subscription *s, const struct cache_client *client);

/* Sends name again although it did not change: a cluster that warms up anew waits for its endpoints. False: not asked for. */
bool subscription_force(struct subscription *s, struct str name);
/* Whether the client does not have r as it is: a response may hold much that it has. */
bool subscription_is_news(const struct subscription *s, const struct resource *r);
bool subscription_wants(const struct subscription *s, struct str name);
/* NULL: nothing is known of it. */
const struct entry *subscription_entry(const struct subscription *s, struct str name);

#endif
