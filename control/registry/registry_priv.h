/* What the builders of the registry share. */
#ifndef OUTRIGGER_CONTROL_REGISTRY_PRIV_H
#define OUTRIGGER_CONTROL_REGISTRY_PRIV_H

#include "control/model/kube.h"
#include "control/registry/registry.h"

/* Objects by kind, while a registry is being built. */
struct sorted {
    const struct object **v[KIND_COUNT]; /* oldest first */
    unsigned count[KIND_COUNT];
};

/* The pods of one namespace that carry one label: a selector looks only at those. */
struct pod_index {
    struct table by_label; /* "ns\0key\0value" -> struct pod_list */
};
struct pod_list {
    struct pod **v;
    unsigned count, cap;
};

void pods_build(struct registry *r, const struct sorted *sorted);
void pod_index_init(struct pod_index *index, const struct registry *r);
void pod_index_fini(struct pod_index *index);
/* The candidates for a selector: a superset of those that match; NULL: none. */
const struct pod_list *pod_index_find(const struct pod_index *index, struct arena *arena, struct str ns, struct labels selector);

struct service *service_of_kubernetes(struct registry *r, const struct object *o, struct vips *vips);
unsigned services_of_entry(struct registry *r, const struct object *o, struct service **out);
void endpoints_of_kubernetes(struct registry *r, struct service *s, const struct sorted *sorted, const struct pod_index *index);
void endpoints_of_entry(struct registry *r, struct service *s, const struct sorted *sorted, const struct pod_index *index);

#endif
