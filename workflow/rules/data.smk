"""Raw files, verified, and the data sets prepared from them."""

from mixvae.spec.own_data import SOURCES_VARIABLE, source_of, without_source

# Where a user's file lies is told to the jobs like MIXVAE_DATA, and not as a parameter: moving it makes no new data.
os.environ[SOURCES_VARIABLE] = json.dumps({name: source_of(EXPANSION.datasets[name]) for name in EXPANSION.own})


def info_option(wildcards):
    """The entry of a user's own data set, which the catalogue does not list."""
    own = wildcards.dataset in EXPANSION.own
    return without_source(EXPANSION.datasets[wildcards.dataset]) if own else ""


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
        "python scripts/download.py --dataset {wildcards.dataset} --folder {params.folder} --info={params.info:q}"
        " > {log} 2>&1"


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
        "python scripts/prepare.py --dataset {wildcards.dataset} --folder {params.folder} > {log} 2>&1"
