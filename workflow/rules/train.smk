"""Rule train: train the model of one run, from the run's own spec alone."""


rule train:
    input:
        data_files,
    output:
        f"{RUN}/spec.json",
        f"{RUN}/model.safetensors",
        f"{RUN}/history.csv",
        f"{RUN}/training.json",
        f"{RUN}/provenance/train.json",
    log:
        f"{RUN}/logs/train.log",
    benchmark:
        f"{RUN}/benchmarks/train.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        mem_mb=asked_for(resources.memory_mb),
        runtime=asked_for(resources.train_minutes),
        gpu=gpu,
        on_gpu=gpu,
        checkpoint_minutes=10,
    params:
        spec=spec_json,
        data=data_folder,
        folder=output_folder,
    shell:
        "exec bash workflow/logged.sh {log} python scripts/train.py --spec {params.spec:q} --data {params.data}"
        " --run {params.folder} --gpu {resources.on_gpu} --checkpoint-minutes {resources.checkpoint_minutes}"
