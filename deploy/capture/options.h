/* What outrigger-capture was asked to do: the flags of istio-iptables, checked. */
#ifndef OUTRIGGER_CAPTURE_OPTIONS_H
#define OUTRIGGER_CAPTURE_OPTIONS_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

/* Lists are as given, "a,b,c", and every element has been checked: it is a number, an address range or an
 * interface name, so that it may stand in a rule. "*" is kept; empty means none. */
struct options {
    struct str outbound_port;          /* -p: where captured outgoing connections go */
    struct str inbound_port;           /* -z: where captured incoming connections go */
    struct str tunnel_port;            /* -e: HBONE, never captured */
    struct str proxy_uids, proxy_gids; /* -u, -g */
    struct str proxy_mark;             /* --proxy-mark: set, it stands instead of uids and gids */
    struct str inbound_ports, inbound_ports_excluded;     /* -b, -d */
    struct str outbound_ports, outbound_ports_excluded;   /* -q, -o */
    struct str outbound_ranges, outbound_ranges_excluded; /* -i, -x */
    struct str interfaces_excluded;                       /* -c */
    bool undo, dry_run, help, version;
};

/* Fills *options_r from the command line; its strings point into argv. False with err for what is not right,
 * and for what is right in istio-iptables but not built here. */
bool options_parse(int argc, char **argv, struct options *options_r, struct err *err);
/* The help text. */
const char *options_usage(void);

#endif
