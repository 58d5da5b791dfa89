/* Objects from YAML for the tests of the control plane, and what is made of them. Header only. */
#ifndef OUTRIGGER_TESTS_CONTROL_FIXTURE_H
#define OUTRIGGER_TESTS_CONTROL_FIXTURE_H

#include "control/check/check.h"
#include "sidecar/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct arena *arena;
    struct findings findings;
    struct check_objects objects;
};

/* Fails the test where the text has a finding of level error. */
static inline void fixture_read(struct fixture *f, const char *yaml)
{
    f->arena = arena_new(8192);
    findings_init(&f->findings, f->arena);
    f->objects = check_text(str_of(yaml), "test.yaml", f->arena, &f->findings);
    for (unsigned i = 0; i < f->objects.count; i++)
        f->objects.v[i]->sequence = i;
    if (f->findings.errors == 0)
        return;
    struct buf text = {0};
    findings_print_all(&f->findings, &text);
    fail_msg("%.*s", STR_FMT(buf_str(&text)));
}

static inline void fixture_fini(struct fixture *f)
{
    arena_free(&f->arena);
}

/* ---- Documents. ---- */
#define SERVICE(name, spec)                                                                                              \
    "apiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: shop}\nspec: {" spec "}\n---\n"
#define POD(name, ip, labels) POD_IN("shop", name, ip, labels)
#define POD_IN(ns, name, ip, labels)                                                                                     \
    "apiVersion: v1\nkind: Pod\nmetadata: {name: " name ", namespace: " ns ", labels: {" labels "}}\n"                      \
    "status: {podIP: " ip ", conditions: [{type: Ready, status: 'True'}]}\n---\n"
#define ISTIO_OBJECT(kind, ns, name, spec)                                                                               \
    "apiVersion: networking.istio.io/v1\nkind: " kind "\nmetadata: {name: " name ", namespace: " ns "}\nspec:\n" spec "---\n"
#define VS(name, spec) ISTIO_OBJECT("VirtualService", "shop", name, spec)
#define DR(name, spec) ISTIO_OBJECT("DestinationRule", "shop", name, spec)
#define SE(name, spec) ISTIO_OBJECT("ServiceEntry", "shop", name, spec)
#define MESH(text)                                                                                                       \
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outrigger, namespace: outrigger-system}\ndata: {mesh: '{" text        \
    "}'}\n---\n"

#endif
