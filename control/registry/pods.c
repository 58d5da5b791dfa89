/* Pods. Part of one build of the registry. */
#include "control/registry/registry_priv.h"
#include "sidecar/base/die.h"

#include <string.h>

static struct str first_label(struct labels labels, const char *const *keys, unsigned count, struct str fallback)
{
    for (unsigned i = 0; i < count; i++) {
        struct str value = labels_get(labels, keys[i]);
        if (value.n > 0)
            return value;
    }
    return fallback;
}

/* "reviews-v1-5d8f" of a ReplicaSet whose own name ends in the hash that the pod carries is of the Deployment "reviews-v1". */
static struct str workload_name(const KUBE_META(ObjectMeta) *meta, struct labels labels, struct str pod_name)
{
    struct str own = labels_get(labels, "service.istio.io/workload-name");
    if (own.n > 0)
        return own;
    if (meta->n_ownerreferences == 0 || !meta->ownerreferences[0]->name)
        return pod_name;
    struct str owner = str_of(meta->ownerreferences[0]->name), hash = labels_get(labels, "pod-template-hash");
    if (hash.n > 0 && owner.n > hash.n + 1 && str_has_suffix(owner, hash) && owner.p[owner.n - hash.n - 1] == '-')
        return str_sub(owner, 0, owner.n - hash.n - 1);
    return owner;
}

static struct str locality_of(struct arena *arena, struct labels labels)
{
    struct str istio = labels_get(labels, "istio-locality");
    if (istio.n > 0) {
        char *text = arena_strdup(arena, arena_str(arena, istio).p);
        for (char *p = text; *p; p++) {
            if (*p == '.')
                *p = '/';
        }
        return str_of(text);
    }
    struct str region = labels_get(labels, "topology.kubernetes.io/region");
    struct str zone = labels_get(labels, "topology.kubernetes.io/zone");
    struct str sub_zone = labels_get(labels, "topology.istio.io/subzone");
    if (region.n + zone.n + sub_zone.n == 0)
        return STR("");
    return arena_printf(arena, "%.*s/%.*s/%.*s", STR_FMT(region), STR_FMT(zone), STR_FMT(sub_zone));
}

static bool is_condition_true(const KUBE_CORE(PodStatus) *status, const char *type)
{
    for (size_t i = 0; status && i < status->n_conditions; i++) {
        const KUBE_CORE(PodCondition) *c = status->conditions[i];
        if (c->type && c->status && strcmp(c->type, type) == 0)
            return strcmp(c->status, "True") == 0;
    }
    return false;
}

static struct pod *pod_of(struct arena *arena, const struct object *o)
{
    static const char *const name_keys[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"};
    static const char *const revision_keys[] = {"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"};
    const KUBE_CORE(Pod) *body = (const KUBE_CORE(Pod) *)o->body;
    struct pod *pod = ARENA_NEW(arena, struct pod);
    pod->object = o;
    pod->ns = o->ns;
    pod->name = o->name;
    pod->labels = o->labels;
    pod->annotations = o->annotations;
    pod->ip = body->status && body->status->podip ? str_of(body->status->podip) : STR("");
    pod->service_account = body->spec && body->spec->serviceaccountname ? str_of(body->spec->serviceaccountname) : STR("default");
    pod->workload = body->metadata ? workload_name(body->metadata, o->labels, o->name) : o->name;
    pod->canonical_name = first_label(o->labels, name_keys, ARRAY_LEN(name_keys), pod->workload);
    pod->canonical_revision = first_label(o->labels, revision_keys, ARRAY_LEN(revision_keys), STR("latest"));
    pod->locality = locality_of(arena, o->labels);
    pod->is_terminating = o->is_deleted;
    pod->is_ready = is_condition_true(body->status, "Ready");
    return pod;
}

/* A pod that ended, or has no address yet, is nobody's endpoint and nobody's proxy. */
static bool is_running(const struct object *o)
{
    const KUBE_CORE(PodStatus) *status = ((const KUBE_CORE(Pod) *)o->body)->status;
    if (!status || !status->podip || !status->podip[0])
        return false;
    return !status->phase || (strcmp(status->phase, "Succeeded") != 0 && strcmp(status->phase, "Failed") != 0);
}

void pods_build(struct registry *r, const struct sorted *sorted)
{
    unsigned n = sorted->count[KIND_POD];
    r->pods = ARENA_ARRAY(r->arena, struct pod *, n + 1);
    for (unsigned i = 0; i < n; i++) {
        if (!is_running(sorted->v[KIND_POD][i]))
            continue;
        struct pod *pod = pod_of(r->arena, sorted->v[KIND_POD][i]);
        pod->at = r->pod_count;
        r->pods[r->pod_count++] = pod;
        /* An address may still be held by a pod that is going while a new one has it: the new one is meant. */
        struct pod *other = table_get(&r->pods_by_ip, pod->ip);
        if (!other || other->is_terminating)
            table_put(&r->pods_by_ip, pod->ip, pod);
        table_put(&r->pods_by_name, arena_printf(r->arena, "%.*s/%.*s", STR_FMT(pod->ns), STR_FMT(pod->name)), pod);
    }
}
