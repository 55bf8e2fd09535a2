"""Rules evaluate, bracket and latents: measure the likelihoods and the latent space of a trained run, each in a folder of its own."""


rule evaluate:
    input:
        data_files,
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
    output:
        f"{MEASURED}/likelihood.json",
        f"{MEASURED}/pointwise.npz",
        f"{MEASURED}/provenance/evaluate.json",
    log:
        f"{MEASURED}/logs/evaluate.log",
    benchmark:
        f"{MEASURED}/benchmarks/evaluate.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=asked_for(resources.evaluate_minutes),
        gpu=gpu,
        on_gpu=gpu,
    params:
        run=run_folder,
        data=data_folder,
        settings=settings_of("evaluate"),
    shell:
        "exec bash workflow/logged.sh {log} python scripts/evaluate.py --run {params.run} --data {params.data}"
        " --settings {params.settings:q} --gpu {resources.on_gpu}"


rule bracket:
    input:
        data_files,
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
    output:
        f"{MEASURED}/bracket.json",
        f"{MEASURED}/bracket.npz",
        f"{MEASURED}/provenance/bracket.json",
    log:
        f"{MEASURED}/logs/bracket.log",
    benchmark:
        f"{MEASURED}/benchmarks/bracket.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=asked_for(resources.bracket_minutes),
        gpu=gpu,
        on_gpu=gpu,
    params:
        run=run_folder,
        data=data_folder,
        settings=settings_of("bracket"),
    shell:
        "exec bash workflow/logged.sh {log} python scripts/bracket.py --run {params.run} --data {params.data}"
        " --settings {params.settings:q} --gpu {resources.on_gpu}"


rule latents:
    input:
        data_files,
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
    output:
        f"{MEASURED}/latents.h5ad",
        f"{MEASURED}/latent_metrics.json",
        f"{MEASURED}/provenance/latents.json",
    log:
        f"{MEASURED}/logs/latents.log",
    benchmark:
        f"{MEASURED}/benchmarks/latents.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=60,
    params:
        run=run_folder,
        data=data_folder,
        settings=settings_of("latents"),
    shell:
        "exec bash workflow/logged.sh {log} python scripts/latents.py --run {params.run} --data {params.data}"
        " --settings {params.settings:q}"
