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


# The head process does these rules itself: compute nodes often have no internet.
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


# What follows is imported late: the Snakefile is parsed again in every job, and only the head process needs it.
onstart:
    from mixvae.cluster import head

    in_one_line(head.take)


onsuccess:
    from mixvae.cluster import head

    head.leave()


onerror:
    from mixvae.cluster import head, salvage

    if not only_looks():
        salvage.tabulate_what_is_there(EXPANSION)
    head.leave()
