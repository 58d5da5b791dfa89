/* The nat rules that bring a pod's traffic to its sidecar, as text for iptables-restore --noflush. */
#ifndef OUTRIGGER_CAPTURE_RULES_H
#define OUTRIGGER_CAPTURE_RULES_H

#include "deploy/capture/options.h"
#include "sidecar/base/buf.h"

enum rules_family { RULES_IPV4, RULES_IPV6 };

/* Appends lines that remove all of ours from a nat table, given what iptables-save -t nat printed. Rules and
 * chains of others stay. Nothing is appended when there is nothing of ours. */
void rules_build_removal(struct str saved, struct buf *out);
/* Appends the chains and rules. */
void rules_build(const struct options *o, enum rules_family family, struct buf *out);
/* Puts lines of the two above into one transaction: "*nat", the lines, "COMMIT". */
void rules_wrap(struct str lines, struct buf *out);

#endif
