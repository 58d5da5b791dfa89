/* Host sets: the members of a cluster as they were given, and the first view of them.
 *
 * Made on main; immutable and shared afterwards (atomic count). Everything lives in the set's arena
 * but the hosts, which the set holds by reference, and the view, which has an arena of its own. */
#include "sidecar/balance/hostset.h"

#include "sidecar/balance/host_view.h"
#include "sidecar/base/arena.h"

#include <string.h>

void hostset_free(struct hostset *s)
{
    host_view_free(&s->view);
    if (s->subsets)
        subsets_fini(s->subsets);
    for (unsigned i = 0; i < s->count; i++)
        host_unref(s->members[i].host);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static void free_shared(struct shared *shared)
{
    hostset_free(CONTAINER_OF(shared, struct hostset, shared));
}

static struct subset_label *labels_copy(struct arena *a, const struct hostset_member *m)
{
    struct subset_label *v = m->label_count ? ARENA_ARRAY(a, struct subset_label, m->label_count) : NULL;
    for (unsigned i = 0; i < m->label_count; i++)
        v[i] = (struct subset_label){arena_str(a, m->labels[i].key), arena_str(a, m->labels[i].value)};
    return v;
}

static void members_copy(struct hostset *s, const struct hostset_member *members, unsigned count)
{
    s->members = ARENA_ARRAY(s->arena, struct hostset_member, count ? count : 1);
    s->count = count;
    s->health_epoch = count ? members[0].host->health_epoch : NULL;
    for (unsigned i = 0; i < count; i++) {
        assert(members[i].weight >= 1);
        assert(members[i].host->health_epoch == s->health_epoch); /* hosts of one cluster */
        s->members[i] = members[i];
        s->members[i].labels = labels_copy(s->arena, &members[i]);
        host_ref(members[i].host);
    }
}

struct hostset *hostset_new(const struct hostset_options *options,
                            const struct hostset_member *members, unsigned count,
                            const uint32_t *locality_weights, unsigned locality_count)
{
    assert(options->overprovisioning_factor >= 100);
    struct arena *arena = arena_new(1024);
    struct hostset *s = ARENA_NEW(arena, struct hostset);
    shared_init(&s->shared, free_shared);
    s->arena = arena;
    s->options = *options;
    members_copy(s, members, count);
    if (locality_weights && locality_count > 0) {
        s->locality_weights = ARENA_ARRAY(arena, uint32_t, locality_count);
        memcpy(s->locality_weights, locality_weights, locality_count * sizeof(*locality_weights));
    }
    if (options->subsets)
        s->subsets = subsets_new(s, locality_count, arena);
    else
        s->view = host_view_new(s, NULL);
    return s;
}

enum host_health hostset_member_health(const struct hostset_member *m)
{
    return host_is_ejected(m->host) ? HOST_UNHEALTHY : m->health;
}

static unsigned count_of(const struct hostset *s, enum host_health health)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->count; i++)
        n += hostset_member_health(&s->members[i]) == health;
    return n;
}

unsigned hostset_healthy_count(const struct hostset *s)
{
    return count_of(s, HOST_HEALTHY);
}

unsigned hostset_degraded_count(const struct hostset *s)
{
    return count_of(s, HOST_DEGRADED);
}
