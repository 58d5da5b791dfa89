/* What is added to a pod, as JSON. */
#ifndef OUTRIGGER_CONTROL_INJECT_PLAN_H
#define OUTRIGGER_CONTROL_INJECT_PLAN_H

#include "control/inject/settings.h"

/* Objects are merged into what the pod has, lists go in front of it. An empty one adds nothing. */
struct plan {
    json_t *labels, *annotations;                   /* of the pod's metadata */
    json_t *init_containers, *containers, *volumes; /* of its spec */
};

void plan_init(struct plan *plan, const struct workload *w, const struct settings *s, const struct inject_params *params);
void plan_fini(struct plan *plan);
/* Applies it to a pod as a JSON tree. */
void plan_apply(const struct plan *plan, json_t *pod);

#endif
