"""Rules evaluate and latents: measure the likelihoods and the latent space of a trained run."""


rule evaluate:
    input:
        data_files,
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
    output:
        f"{RUN}/likelihood.json",
        f"{RUN}/pointwise.npz",
        f"{RUN}/provenance/evaluate.json",
    log:
        f"{RUN}/logs/evaluate.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=asked_for(resources.evaluate_minutes),
        gpu=gpu,
        on_gpu=gpu,
    params:
        data=data_folder,
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/evaluate.py --run {params.folder} --data {params.data}"
        " --gpu {resources.on_gpu}"


rule latents:
    input:
        data_files,
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
    output:
        f"{RUN}/latents.h5ad",
        f"{RUN}/latent_metrics.json",
        f"{RUN}/provenance/latents.json",
    log:
        f"{RUN}/logs/latents.log",
    benchmark:
        f"{RUN}/benchmarks/latents.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=60,
    params:
        data=data_folder,
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/latents.py --run {params.folder} --data {params.data}"
