"""Rules audit and report: check the results of a study and show them on one page; they are not part of `all`.

These rules have neither inputs nor outputs (nor a benchmark, which is an output): they look at what is there. With inputs,
Snakemake would first make files anew that look old, as copied results do; with outputs, it would take an earlier verdict for
the present one, and remove what a failed audit wrote.
"""


rule audit:
    log:
        f"{STUDY}/logs/audit.log",
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=STUDY,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/audit.py {params.folder}"


# The report includes an audit of its own. If this fails, the report is still written, and says so.
rule report:
    log:
        f"{STUDY}/logs/report.log",
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=STUDY,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/report.py {params.folder}"
