import json
def write_json(found, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1))
def as_text(found): return "\n".join(f"{k} {v[0]['figures'] if v else None}" for k, v in found["samples"].items())
def is_sound(found): return True
