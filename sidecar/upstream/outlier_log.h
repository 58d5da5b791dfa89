/* One line of the log of ejections: Envoy's OutlierDetectionEvent as JSON, byte for byte. */
#ifndef OUTRIGGER_UPSTREAM_OUTLIER_LOG_H
#define OUTRIGGER_UPSTREAM_OUTLIER_LOG_H

#include "sidecar/base/buf.h"
#include "sidecar/resilience/ejector.h"

/* Appends the event, with its end of line. Only EJECT_SPARED, EJECT_OUT and EJECT_BACK are logged;
 * nothing is appended for others. rates: the cluster's, by origin. */
void outlier_log_format(struct buf *out, const struct eject_event *event, struct str cluster,
                        struct str host, const struct ejector_rates rates[OUTLIER_ORIGIN_COUNT],
                        uint64_t wall_us);

#endif
