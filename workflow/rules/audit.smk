"""Whether the results are complete, unchanged, consistent and plausible, and what they say; not part of `all`.

These rules have neither inputs nor outputs (nor a benchmark, which is one): they look at what is there. With inputs, Snakemake would first
make anew what looks old, as copied results do; with outputs it would take an earlier verdict for the present one, and remove what a
failed audit wrote.
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


# Its own audit is part of it, and may fail: the report says so then, and is there.
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
