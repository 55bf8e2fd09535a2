"""Whether the results are complete, unchanged, consistent and plausible, and what they say; not part of `all`."""


# Snakemake removes the outputs of a failed job: what a failed audit found is in its log. `make audit` keeps its files.
rule audit:
    input:
        files_of("tabulate"),
        files_of("figures"),
    output:
        f"{STUDY}/audit.json",
        f"{STUDY}/audit.md",
    log:
        f"{STUDY}/logs/audit.log",
    benchmark:
        f"{STUDY}/benchmarks/audit.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/audit.py {params.folder}"


# Its own audit is part of it, and may fail: the report says so then, and is there.
rule report:
    input:
        files_of("tabulate"),
        files_of("figures"),
    output:
        f"{STUDY}/report.html",
        f"{STUDY}/provenance/report.json",
    log:
        f"{STUDY}/logs/report.log",
    benchmark:
        f"{STUDY}/benchmarks/report.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/report.py {params.folder}"
