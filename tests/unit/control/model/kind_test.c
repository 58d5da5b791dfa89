/* Kinds by apiVersion and name, and by the words of the command line. */
#include "control/model/kind.h"
#include "sidecar/base/die.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_document_finds_its_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *version, *kind;
        enum kind_verdict verdict;
        enum kind known;
        const char *text; /* part of it; NULL: none */
    } rows[] = {
        {"v1", "Service", KIND_KNOWN, KIND_SERVICE, NULL},
        {"networking.istio.io/v1", "VirtualService", KIND_KNOWN, KIND_VIRTUAL_SERVICE, NULL},
        {"networking.istio.io/v1alpha3", "VirtualService", KIND_KNOWN, KIND_VIRTUAL_SERVICE, NULL},
        {"networking.istio.io/v1beta1", "DestinationRule", KIND_KNOWN, KIND_DESTINATION_RULE, NULL},
        {"apps/v1", "Deployment", KIND_KNOWN, KIND_DEPLOYMENT, NULL},
        {"networking.istio.io/v1", "Gateway", KIND_NOT_BUILT, 0, "ingress"},
        {"gateway.networking.k8s.io/v1", "HTTPRoute", KIND_NOT_BUILT, 0, "VirtualService"},
        {"networking.istio.io/v1", "VirtalService", KIND_MISSPELT, 0, "VirtualService"},
        {"networking.istio.io/v1", "Nonsense", KIND_MISSPELT, 0, NULL},
        {"v1", "Servcie", KIND_MISSPELT, 0, "Service"},
        {"v1", "Secret", KIND_OF_OTHERS, 0, NULL},
        {"v1", "ServiceAccount", KIND_OF_OTHERS, 0, NULL},
        {"batch/v1", "Job", KIND_OF_OTHERS, 0, NULL},
        {"example.com/v1", "Service", KIND_OF_OTHERS, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum kind kind = KIND_COUNT;
        const char *text;
        enum kind_verdict got = kind_find(str_of(rows[i].version), str_of(rows[i].kind), &kind, &text);
        if (got != rows[i].verdict || (got == KIND_KNOWN && kind != rows[i].known))
            fail_msg("%s %s: verdict %d", rows[i].version, rows[i].kind, got);
        if (rows[i].text ? !text || !strstr(text, rows[i].text) : text != NULL)
            fail_msg("%s %s: text %s", rows[i].version, rows[i].kind, text ? text : "none");
    }
}

static void the_command_line_takes_short_words(void **state)
{
    (void)state;
    enum kind kind;
    assert_true(kind_parse(STR("vs"), &kind) && kind == KIND_VIRTUAL_SERVICE);
    assert_true(kind_parse(STR("VirtualServices"), &kind) && kind == KIND_VIRTUAL_SERVICE);
    assert_true(kind_parse(STR("virtualservice.networking.istio.io"), &kind) && kind == KIND_VIRTUAL_SERVICE);
    assert_true(kind_parse(STR("dr"), &kind) && kind == KIND_DESTINATION_RULE);
    assert_true(kind_parse(STR("serviceentries"), &kind) && kind == KIND_SERVICE_ENTRY);
    assert_false(kind_parse(STR("service.networking.istio.io"), &kind));
    assert_false(kind_parse(STR("gateway"), &kind));
    assert_false(kind_parse(STR(""), &kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_document_finds_its_verdict),
        cmocka_unit_test(the_command_line_takes_short_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
