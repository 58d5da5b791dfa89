/* Rules of one VirtualService that are written in another: a root (with hosts) names a delegate (without hosts). */
#ifndef OUTRIGGER_CONTROL_MODEL_DELEGATE_H
#define OUTRIGGER_CONTROL_MODEL_DELEGATE_H

#include "control/model/istio.h"
#include "control/model/object.h"

bool delegate_is_root(const ISTIO(VirtualService) *vs); /* one of its rules is written elsewhere */
/* The namespace of the delegate that a rule of `root` names. */
struct str delegate_namespace(const ISTIO(HTTPRoute) *rule, const struct object *root);
/* The rule that acts where `root` hands over to `own`, a rule of the object `delegate`: own settings before the root's, conditions of
 * both, hosts in full. NULL: what own matches lies outside of what root matches. Shares what it does not change; in arena. */
ISTIO(HTTPRoute) *delegate_merge(struct arena *arena, const ISTIO(HTTPRoute) *root, const ISTIO(HTTPRoute) *own,
                                 const struct object *delegate, struct str domain);

#endif
