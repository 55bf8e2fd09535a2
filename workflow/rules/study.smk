"""Rules study, tabulate and figures: list the runs of a study, and make its tables and its figures."""


rule study:
    output:
        f"{STUDY}/study.json",
        f"{STUDY}/provenance/study.json",
    log:
        f"{STUDY}/logs/study.log",
    params:
        content=listing(EXPANSION),
    run:
        list_study(Path(STUDY), params.content)


rule tabulate:
    input:
        study=f"{STUDY}/study.json",
        published="config/published.csv",
        runs=FOR_TABLES,
    output:
        shown("tabulate"),
    log:
        f"{STUDY}/logs/tabulate.log",
    benchmark:
        f"{STUDY}/benchmarks/tabulate.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/tabulate.py --study {input.study} --runs results/runs"


rule figures:
    input:
        study=f"{STUDY}/study.json",
        metrics=f"{STUDY}/metrics.parquet",
        tables=[str(file) for file in WHOLE["figures"].inputs if file.parent.name == "tables"],
        runs=FOR_FIGURES,
    output:
        shown("figures"),
    log:
        f"{STUDY}/logs/figures.log",
    benchmark:
        f"{STUDY}/benchmarks/figures.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/figures.py --study {input.study} --results results"
