/* What a pod asks for that injection does not act on. */
#ifndef OUTRIGGER_CONTROL_INJECT_ANNOTATIONS_H
#define OUTRIGGER_CONTROL_INJECT_ANNOTATIONS_H

#include "control/inject/settings.h"

/* Tells of every annotation and label of Istio's, and of every probe, that will not do what it says. False: one is refused. */
bool annotations_check(const struct workload *w, const struct settings *s, struct findings *findings);

#endif
