/* The codes of findings. A number is never reused. 01xx: text and schema; 02xx: references; 03xx: rules that
 * contradict or shadow; 04xx: settings without effect; 05xx: injection. */
#ifndef OUTRIGGER_PROTO_CODES_H
#define OUTRIGGER_PROTO_CODES_H

enum finding_code {
    OG_SYNTAX = 101,         /* not YAML or JSON */
    OG_DUPLICATE_KEY = 102,
    OG_TOO_LARGE = 103,      /* depth, nodes, bytes */
    OG_UNKNOWN_FIELD = 104,
    OG_WRONG_TYPE = 105,
    OG_BAD_VALUE = 106,      /* out of range, bad duration, unknown enum name */
    OG_UNKNOWN_KIND = 107,
    OG_MISSING_FIELD = 108,
    OG_ONEOF_TWICE = 109,
    OG_AMBIGUOUS_SCALAR = 110, /* yes, no, on, off, 010: warned of */
    OG_NOT_BUILT = 111,      /* a field that Outrigger does not support yet */
    OG_DEPRECATED = 112,
    OG_IGNORED = 113,        /* harmless and ignored (config/ignorable) */
    OG_DUPLICATE_OBJECT = 114,
    OG_FILE = 115,           /* cannot be read */

    OG_HOST_NOT_FOUND = 201,       /* a rule names a host that no Service or ServiceEntry has */
    OG_SUBSET_NOT_FOUND = 202,     /* a route names a subset that no DestinationRule defines */
    OG_PORT_NOT_FOUND = 203,       /* the host has no such port */
    OG_SUBSET_WITHOUT_PODS = 204,  /* the labels of a subset select no pod */
    OG_SERVICE_WITHOUT_PODS = 205, /* the selector of a service selects no pod */
    OG_NO_MESH_GATEWAY = 206,      /* a VirtualService that no sidecar applies */
    OG_PORT_NEEDED = 207,          /* a destination with several ports, none named */
    OG_DELEGATE_NOT_FOUND = 208,   /* a rule is handed over to a VirtualService that is none without hosts, or not exported */
    OG_DELEGATE_UNUSED = 209,      /* a VirtualService without hosts to which nobody hands over */
    OG_PROTOCOL_NOT_SPOKEN = 210,  /* rules of a protocol that no port of their hosts speaks */

    OG_RULE_UNREACHABLE = 301, /* an earlier rule takes every request */
    OG_WEIGHTS_NOT_100 = 302,
    OG_HOST_TWICE = 303,   /* two VirtualServices for one host: the older is applied */
    OG_SUBSET_TWICE = 304, /* two DestinationRules for one host define one subset: the older is applied */
    OG_FAULT_OFF = 305,    /* a fault without a percentage, or of 0 % */
    OG_POLICY_TWICE = 306, /* two DestinationRules for one host have a trafficPolicy: the older is applied */
    OG_DELEGATE_CHAIN = 307, /* a delegate that delegates: no ring and no chain is followed */
    OG_DELEGATE_OUTSIDE = 308, /* a delegate's rule matches nothing of what is handed over to it */
    OG_PORT_CONFLICT = 309,   /* two services share a port that no address tells apart: the older has it */

    OG_EJECTS_NOBODY = 401,        /* maxEjectionPercent of so few hosts is less than one */
    OG_OUTLIER_OFF = 402,          /* outlierDetection with every threshold 0 */
    OG_ZERO_MEANS_DEFAULT = 403,   /* 0 in a limit is "not set" */
    OG_TRY_LONGER_THAN_ROUTE = 404, /* perTryTimeout above the route's timeout */
    OG_RETRIES_CUT = 405,          /* attempts x perTryTimeout above the route's timeout */
    OG_RETRIES_OFF = 406,          /* attempts 0, beside settings of retries */
    OG_FAILOVER_OFF = 407,         /* failover between localities without outlierDetection */

    OG_TLS_NAME_UNCHECKED = 408, /* sni without subjectAltNames: any name is accepted */
    OG_TLS_WITHOUT_EFFECT = 409, /* a field of TLS that its mode does not use */

    OG_INJECTED = 501,     /* a workload got its sidecar */
    OG_NOT_INJECTED = 502, /* and why not */
    OG_INJECT_MARKS = 503, /* there is no way, or no way back, in this text */
    OG_PROBE_TAKEN = 504,  /* a probe that the sidecar answers instead of the application */
};

#endif
