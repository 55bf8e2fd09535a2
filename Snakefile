# The study at a glance. `snakemake --configfile config/<study>.yaml --cores 2` runs one; config/demo.yaml is the default.
from snakemake.utils import min_version

min_version("9.0")

# Only as a default: a config file named on the command line would be merged into this one, not replace it.
if not workflow.configfiles:

    configfile: "config/demo.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/audit.smk"


# by the head process itself: compute nodes often have no internet
localrules:
    all,
    study,
    download,


rule all:
    default_target: True
    input:
        FOR_TABLES,
        FOR_FIGURES,
        files_of("tabulate"),
        files_of("figures"),


onstart:
    take_the_lead()


onsuccess:
    give_up_the_lead()


onerror:
    # Snakemake makes no table from missing inputs; this one shows the holes.
    if not only_looks():
        tabulate_what_is_there()
    give_up_the_lead()
