"""A small root for each source of which no images are at hand: the real headers, made-up rows and pictures."""

from pathlib import Path

from openpyxl import Workbook
from PIL import Image


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((64, 64)).save(path)


def radiography(root: Path) -> None:
    for kind, stem in (("COVID", "COVID-1"), ("Normal", "Normal-1"), ("Viral Pneumonia", "Viral Pneumonia-1")):
        picture(root / kind / "images" / f"{stem}.png")
        picture(root / kind / "masks" / f"{stem}.png")
    book = Workbook()
    book.worksheets[0].append(("FILE NAME", "FORMAT", "SIZE", "URL"))
    book.worksheets[0].append(("COVID-1", "PNG", "256*256", "https://sirm.org/category/senza-categoria/covid-19/"))
    book.save(root / "COVID.metadata.xlsx")


def hannover(root: Path) -> None:
    picture(root / "png" / "2168a917.png")
    picture(root / "png" / "ffffffff.png")
    (root / "data.csv").write_text(
        "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,icu_release_offset,death_offset,"
        "modality,projection,crp_offset,crp_val\n09ec853d,2168a917,m,,,,-21,-21.0,-11.0,,DX,pa,0.0,44.0\n"
        "77a9d3bc,527321ee,w,64,,,,,,14.0,CR,lateral,0.0,-inf\n"
    )


def actualmed(root: Path) -> None:
    picture(root / "images" / "CR.1.2.png")
    (root / "metadata.csv").write_text(
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,imagename,"
        "artifacts/distortion,notes\nANON196,,,,COVID-19,,,,AP,X-ray,CR.1.2.png,,\n"
    )


def covid_cxnet(root: Path) -> None:
    picture(root / "chest_xray_images" / "covid19" / "437.jpg")
    picture(root / "chest_xray_images" / "normal" / "001.png")
    (root / "metadata.csv").write_text(
        "filename,patient_id,sex,age,view,label,pcr_test,survival,location,admission_offset,symptom_offset,also_had_ct,"
        "has_fever,has_cough,has_dyspnea,has_diarrhea,spo2,other_symptoms,medical_background,opacification,other,"
        "is_bilateral,url\n437.jpg,112,male,48,AP,COVID-19,,1,Austria,4,8,0,1,1,,,,,,1,,1,https://www.eurorad.org/1\n"
    )


def chexpert(root: Path) -> None:
    picture(root / "CheXpert-v1.0-small" / "train" / "patient00001" / "study1" / "view1_frontal.jpg")
    (root / "CheXpert-v1.0-small" / "train.csv").write_text(
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
        "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
        "Support Devices\n"
        "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
        "CheXpert-v1.0-small/train/patient00002/study2/view2_lateral.jpg,Male,30,Lateral,,,,,1.0,,,,,,,,,,\n"
    )


def table(root: Path) -> None:
    """COVID-Net's lists, for the shipped mapping `covidx`."""
    for split, name in (("train", "a.png"), ("test", "b.png")):
        picture(root / split / name)
    (root / "train_COVIDx9A.txt").write_text("12 a.png positive cohen\n")
    (root / "test_COVIDx9A.txt").write_text("patient 7 b.png negative rsna\n")


MADE = {
    "actualmed": actualmed,
    "chexpert": chexpert,
    "covid-cxnet": covid_cxnet,
    "hannover": hannover,
    "radiography": radiography,
    "table": table,
}
"""Source -> what writes its root."""
