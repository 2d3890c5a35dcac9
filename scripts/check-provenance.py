"""Reads provenance with in-toto's own types (PyPI: in-toto-attestation): check-provenance.py FILE SHA256.

Unknown fields, missing ones and wrong types are errors. Prints how many resolved dependencies there are.
"""

import json
import sys

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

with open(sys.argv[1], encoding="utf-8") as file:
    predicate = json.load(file)
provenance = json_format.ParseDict(predicate, Provenance())
definition, run = provenance.build_definition, provenance.run_details
for value in (definition.build_type, definition.external_parameters, run.builder.id):
    if not value:
        sys.exit("a required field of SLSA v1 is empty")
for descriptor in [*definition.resolved_dependencies, *run.byproducts]:
    ResourceDescriptor.copy_from_pb(descriptor).validate()
subject = ResourceDescriptor(name="image", digest={"sha256": sys.argv[2]})
Statement([subject.pb], "https://slsa.dev/provenance/v1", predicate).validate()
print(len(definition.resolved_dependencies))
