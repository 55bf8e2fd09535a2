"""Rules download and prepare: put verified raw files into place, and prepare data sets from them."""


rule download:
    output:
        f"{DATASET}/raw.json",
        f"{DATASET}/provenance/download.json",
    log:
        f"{DATASET}/logs/download.log",
    benchmark:
        f"{DATASET}/benchmarks/download.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        folder=output_folder,
        info=info_option,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/download.py --dataset {wildcards.dataset} --folder {params.folder}"
        " --info={params.info:q}"


rule prepare:
    input:
        f"{DATASET}/raw.json",
    output:
        f"{DATASET}/data.npz",
        f"{DATASET}/dataset.json",
        f"{DATASET}/provenance/prepare.json",
    log:
        f"{DATASET}/logs/prepare.log",
    benchmark:
        f"{DATASET}/benchmarks/prepare.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/prepare.py --dataset {wildcards.dataset}" " --folder {params.folder}"
