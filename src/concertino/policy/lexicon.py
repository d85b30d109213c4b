# ruff: noqa: E501 - a pattern reads better unbroken
# ruff: noqa: SIM905 - a list of words reads as words
"""The words of a health context: written by hand, grouped by what they say, one space between the words of a phrase.

STRONG terms make a health context alone. WEAK ones are everyday words ("pain", "treatment") that do so in pairs.
A trailing plural s is understood. Endings catch the Greek and Latin names that no list could hold.
"""

STRONG: dict[str, frozenset[str]] = {
    "condition": frozenset(
        """
        abscess acne adhd aids albinism alcoholism allergic allergies allergy alzheimer alzheimer's amnesia amputation
        amputee amyloid anaphylaxis anaemia anaemic anemia anemic aneurysm angina anorexia anorexic aphasia aplasia
        apnea apnoea appendicitis arrhythmia arthritis asperger asperger's aspergillosis asthma asthmatic astigmatism
        ataxia atherosclerosis atopic atrophy autism autistic autoimmune bedsore bipolar bleeding blindness botulism
        bronchiectasis bronchitis bulimia bunion cancer cancerous carcinogenic carcinoma cardiomyopathy cardiovascular
        cataract celiac cellulitis chickenpox chlamydia cholera cholestasis chorea cirrhosis claudication coeliac colic
        colitis coma comatose comorbid comorbidities comorbidity concussion congenital conjunctivitis constipation
        contusion copd covid covid-19 coronavirus croup crohn crohn's cyst cystic deafness deformity dehydration delirium dementia
        dengue dermatitis diabetes diabetic diarrhea diarrhoea diphtheria diplegia disease dislocation diverticulitis
        down's dwarfism dysfunction dyslexia dyspepsia dysphagia dysplasia dystonia dystrophy ebola eclampsia ectopic
        eczema edema oedema embolism emphysema encephalitis encephalopathy endometriosis epilepsy epileptic erectile
        esophageal esophagus fibroid fibromyalgia fibrosis fistula flu fracture fractured gallstone gangrene gastritis
        gastroenteritis genetic-disorder gigantism gingivitis glaucoma glioma goiter goitre gonorrhea gout haematoma
        haemophilia haemorrhage haemorrhoid halitosis heartburn hematoma hemiplegia hemophilia hemorrhage hemorrhagic
        hemorrhoid hepatitis hernia herniated herpes hiv hives hpv huntington huntington's hydrocephalus hyperactivity
        hypercholesterolemia hyperglycemia hyperlipidemia hypertension hypertensive hyperthyroidism hyperplasia
        hypoglycemia hypoplasia hypotension hypothermia hypothyroidism hypoxia ibs icterus impetigo impotence
        incontinence infarction infection infected infectious infertility inflammation inflammatory influenza insomnia
        ischemia ischemic ischaemic jaundice keloid kyphosis leprosy lesion leukaemia leukemia listeria lupus lyme
        lymphedema lymphoma malabsorption malaria malformation malignancy malignant malnutrition measles melanoma
        melasma meningitis menopausal menopause meningioma mesothelioma metastasis metastases metastatic microcephaly
        migraine miscarriage mononucleosis mrsa mumps myasthenia myeloma myocardial myopathy myopia nephritis
        nephropathy neuralgia neuroblastoma neurodegenerative neuropathic neuropathy neurosis neutropenia obese obesity
        obsessive-compulsive ocd orthostatic osteoarthritis osteoporosis otitis palsy pancreatitis papilloma paralysis
        paraplegia parasitic parkinson parkinson's parkinsonism pathological peritonitis pertussis pharyngitis
        phenylketonuria phlebitis phobia plaque-psoriasis pleurisy pneumonia pneumothorax polio polycystic polyp
        porphyria preeclampsia prediabetes prediabetic premature-birth progeria prolapse psoriasis psoriatic psychosis
        psychotic ptsd quadriplegia rabies reflux relapse remission retinitis retinopathy rhinitis rickets ringworm
        rosacea rubella salmonella sarcoidosis sarcoma scabies schizophrenia schizophrenic sciatica scleroderma
        sclerosis scoliosis scurvy seizure sepsis septic shingles sickle sickle-cell sids sinusitis smallpox spasm
        spasticity sprain stenosis stillbirth strabismus stroke suicidal syndrome syphilis tachycardia bradycardia
        tendinitis tetanus thalassemia thrombosis thrombocytopenia thyroiditis tinnitus tonsillitis tourette tourette's
        toxoplasmosis trachoma trisomy tuberculosis tumor tumour typhoid ulcer ulcerative uremia urticaria uti varicose
        vasculitis vertigo vitiligo purpura alopecia nystagmus murmur hookworm parasite macular fibrillation paresthesia agnosia
        cherubism microdeletion elasticum bullosa arthrogryposis infantile familial congenita deficiency disorder
        lymphocytic thrombotic yersinia pityriasis hairy-tongue dissecans xanthomatosis hypersomnia ptosis mosaicism
        duplication-syndrome neonatorum ichthyosis leukodystrophy ataxia-telangiectasia recessive x-linked autosomal spastic
        htn t2dm t1dm cabg stemi nstemi ckd afib dvt
        degenerative bruxism xerostomia hydatidiform lichen lupus-like keratoderma frostbite sunburn whiplash stroke-like
        dysmenorrhea menorrhagia anosmia bedbound whooping wilson's-disease zika zoster spina-bifida
        """.split()
    )
    | {
        "heart attack", "heart failure", "heart condition", "heart problem", "heart trouble", "kidney failure", "kidney stone",
        "liver failure", "high blood pressure", "low blood pressure", "high cholesterol", "birth defect", "birth control", "heart block", "lactose intolerance", "swallowing problem", "hydatidiform mole", "unvaccinated",
        "blood clot", "blood disorder", "eating disorder", "panic attack", "anxiety disorder", "sleep disorder",
        "mental illness", "mental health", "mentally ill", "bone fracture", "broken leg", "broken arm", "broken hip",
        "broken bone", "broken wrist", "hip fracture", "spinal cord", "slipped disc", "bone marrow", "germ cell", "stem cell transplant",
        "panic disorder", "mood disorder", "clinical depression", "feel depressed", "feeling depressed", "feels depressed", "am depressed", "is depressed",
        "with depression", "my depression", "my anxiety", "have anxiety", "has anxiety", "major depression", "postpartum depression",
        "severe depression", "suffers from", "suffering from", "suffered from", "substance abuse", "drug abuse",
        "drug addiction", "substance use", "opioid use", "chronic pain", "hearing loss", "vision loss", "memory loss",
        "hair loss", "weight gain", "weight loss", "bone loss", "blood loss", "blood poisoning", "food poisoning", "lead poisoning", "head injury",
        "brain injury", "spinal injury", "head lice", "common cold", "yeast infection", "self harm", "self-harm", "eye disease",
        "pink eye", "cold sore", "cerebral palsy", "cystic fibrosis", "spina bifida", "cleft palate", "cleft lip", "tay sachs",
    },
    "symptom": frozenset(
        """
        symptom symptomatic asymptomatic ache aching backache headache stomachache toothache earache bloating bruise bruising chills
        clubbing convulsion cough coughing cramp cramping cyanosis diaphoresis dizziness dizzy drowsiness dysphoria dyspnea
        dysuria faint fainted fainting fatigue fever feverish hallucination hallucinating hematuria hoarseness itching itchy
        lethargic lethargy malaise nausea nauseous nosebleed numbness pallor palpitation photophobia polyuria pruritus pus rash
        sneezing swelling swollen syncope tenderness tingling tremor vomit vomited vomiting wheeze wheezing febrile afebrile
        phlegm sputum melena indigestion flatulence bedwetting hemoptysis incontinent unresponsive
        """.split()
    )
    | {
        "chest pain", "back pain", "neck pain", "knee pain", "joint pain", "abdominal pain", "stomach pain", "leg pain",
        "shoulder pain", "hip pain", "muscle pain", "pelvic pain", "in pain", "severe pain", "sharp pain", "pain in",
        "side effect of", "short of breath", "shortness of breath", "difficulty breathing", "trouble breathing",
        "sore throat", "runny nose", "stuffy nose", "blurred vision", "double vision", "night sweat", "loss of appetite",
        "feeling sick", "feel sick", "feels sick", "fell ill", "seriously ill", "terminally ill", "blood in",
        "blood pressure", "heart rate", "body temperature", "vital signs", "passed out", "out of breath", "stiff neck",
        "suicidal thoughts", "kill myself", "killing myself", "kill himself", "kill herself", "end my life", "end his life", "end her life", "hearing voices", "loss of consciousness", "blood sugar", "missed period", "heavy periods",
    },
    "drug": frozenset(
        """
        medication medicine medicinal antibiotic antidepressant antihistamine antipsychotic antiviral anticoagulant
        acetaminophen adalimumab adderall advil albuterol alendronate allopurinol alprazolam amitriptyline amlodipine
        amoxicillin ampicillin apixaban aripiprazole aspirin atenolol ativan atorvastatin augmentin azathioprine
        azithromycin baclofen beclomethasone bisoprolol botox budesonide buprenorphine bupropion buspirone captopril
        carbamazepine carvedilol cefalexin ceftriaxone celecoxib cetirizine chemo chemotherapy ciprofloxacin citalopram
        clarithromycin clonazepam clonidine clopidogrel clozapine codeine corticosteroid cortisone coumadin
        cyclophosphamide dexamethasone diazepam diclofenac digoxin diltiazem diphenhydramine diuretic donepezil
        doxorubicin doxycycline duloxetine eliquis enalapril enoxaparin epinephrine epipen erythromycin escitalopram
        esomeprazole estradiol etanercept famotidine fentanyl finasteride fluconazole fluoxetine fluticasone furosemide
        gabapentin gleevec glipizide haloperidol heparin humira hydrochlorothiazide hydrocodone hydrocortisone
        hydroxychloroquine ibuprofen imatinib infliximab inhaler insulin interferon ivermectin ketamine ketoconazole
        ketorolac lamotrigine lansoprazole lasix latanoprost letrozole levetiracetam levothyroxine lexapro lidocaine
        lipitor lisinopril lithium-carbonate loperamide loratadine lorazepam losartan meloxicam metformin methadone
        methotrexate methylphenidate metoclopramide metoprolol metronidazole minoxidil mirtazapine montelukast morphine
        naloxone naltrexone naproxen narcotic neurontin nifedipine nitroglycerin norvasc nortriptyline olanzapine
        omeprazole ondansetron opiate opioid oxycodone oxycontin ozempic pantoprazole paracetamol paroxetine penicillin
        percocet phenobarbital phenytoin pravastatin prednisolone prednisone pregabalin propranolol prozac quetiapine
        ramipril ranitidine rifampin risperidone ritalin rituximab rivaroxaban rosuvastatin salbutamol semaglutide
        sertraline sildenafil simvastatin sitagliptin spironolactone statin steroid sumatriptan synthroid tacrolimus
        tamoxifen tamsulosin temazepam terbinafine tetracycline timolol topiramate tramadol trastuzumab trazodone
        tylenol valium valproate valsartan vancomycin venlafaxine verapamil viagra vicodin warfarin xanax zidovudine
        zoloft zolpidem vaccine vaccinated vaccination vaccinate immunization immunisation placebo multivitamin nsaid
        """.split()
    )
    | {"blood thinner", "pain killer", "painkiller", "beta blocker", "eye drops", "over the counter", "birth control pill", "flu shot"},
    "care": frozenset(
        """
        diagnose diagnosed diagnosis diagnoses diagnosing diagnostic misdiagnosed prognosis prescribed prescription prescribe
        patient inpatient outpatient physician surgeon surgery surgical surgically nurse-practitioner paediatric pediatric
        paediatrician pediatrician cardiologist dermatologist oncologist neurologist psychiatrist psychologist gynecologist
        gynaecologist obstetrician urologist radiologist nephrologist endocrinologist rheumatologist ophthalmologist
        hematologist gastroenterologist pulmonologist anesthesiologist anaesthetist dentist orthodontist optometrist midwife
        chiropractor podiatrist physiotherapist paramedic hospital hospitalised hospitalized hospitalization hospice icu
        clinic clinical clinician clinically ambulance psychiatric psychiatry psychotherapy oncology cardiology dermatology
        neurology radiology nephrology urology pathology hematology anesthesia anaesthesia anesthetic transplant
        transplantation transfusion dialysis radiotherapy immunotherapy physiotherapy mastectomy hysterectomy
        appendectomy tonsillectomy vasectomy colonoscopy endoscopy laparoscopic laparoscopy biopsy biopsies mammogram
        mammography mammographic tomography electrocardiogram iud lithotripsy cystoscopy acupuncture resuscitator residency-hospital ultrasound sonogram mri x-ray xray ekg ecg eeg echocardiogram angiogram angioplasty catheter
        catheterization stent pacemaker defibrillator prosthesis prosthetic intubated intubation ventilator cpr
        resuscitation resuscitated bypass-surgery amputated anesthetized cesarean caesarean c-section abortion ivf
        pregnancy pregnant gestation gestational prenatal antenatal postnatal postpartum perinatal neonatal neonate
        fetus fetal foetal breastfeeding lactation trimester contraception contraceptive contraceptives obstetric rehab
        triage discharge-summary comorbidity palliative chemo immunosuppressed immunocompromised genetic-testing
        medical medically healthcare epidemiology etiology aetiology pathogenesis pathophysiology contraindicated
        contraindication dosage overdose overdosed detox physiotherapeutic wheelchair hearing-aid denture
        inherited hereditary carcinogen antibody antibodies immunities morbidity genetic
        """.split()
    )
    | {
        "my doctor", "your doctor", "the doctor", "a doctor", "his doctor", "her doctor", "see a doctor", "health care", "health condition",
        "health problem", "health issue", "medical history", "family history", "test result", "lab result", "follow up visit",
        "follow-up visit", "primary care", "intensive care", "emergency room", "operating room", "physical exam",
        "physical therapy", "physical therapist", "radiation therapy", "clinical trial", "side effect", "health record", "health history",
        "past medical", "present illness", "chief complaint", "review of systems", "social history", "public health",
        "health insurance claim", "blood transfusion", "bone scan", "ct scan", "cat scan", "pet scan", "pap smear", "root canal",
        "hip replacement", "knee replacement", "gender reassignment", "rare disease", "sick leave", "in remission", "health status",
        "blood donor", "organ donor", "treated for", "treatment for", "treatments for", "cure for", "therapy for", "nursing home",
    },
    "laboratory": frozenset(
        """
        hemoglobin haemoglobin hba1c a1c creatinine bilirubin cholesterol triglycerides triglyceride troponin ferritin
        platelet platelets leukocyte leukocytes lymphocyte lymphocytes neutrophil hematocrit haematocrit tsh egfr psa
        ldl hdl alt-level ast-level bmi urinalysis urine stool-sample spirometry glucose fasting-glucose cortisol
        estrogen testosterone progesterone serum plasma-level biomarker biomarkers cd4 rna-load hcg ecg mmhg bpm
        mmol/l mg/dl mg/kg mcg ng/ml iu/l
        """.split()
    )
    | {"blood test", "blood count", "blood work", "blood type", "white blood cell", "red blood cell", "viral load", "blood glucose",
       "liver function", "kidney function", "liver enzyme", "tumor marker", "body mass index", "lab test", "bone density",
       "oxygen saturation", "tested positive", "tested negative", "test positive"},
    "anatomy": frozenset(
        """
        abdomen abdominal adrenal aorta aortic arterial artery bladder bowel brainstem bronchial cardiac carotid cartilage cerebellar
        cerebral cervical cervix colorectal cornea corneal coronary cutaneous dental duodenal endocrine
        endometrial epidermal epidural epithelial femoral femur gallbladder gastric gastrointestinal genital groin
        hepatic hippocampus hippocampal intestinal intestine intestines intracranial intravenous jaw kidney larynx lumbar lymph lymphatic
        mitral mucosal muscular musculoskeletal nasal neonatal neural neurological neurologic ocular oral-cavity
        optic-nerve orthopedic orthopaedic ovarian ovary ovaries pancreas pancreatic pelvic pelvis penile penis peripheral-nerve pituitary
        placenta placental prostate pulmonary rectal rectum renal respiratory retina retinal sinus sinuses skeletal spinal spleen
        splenic subcutaneous testicular testicle thoracic thorax thyroid tonsils trachea urethra urethral urinary
        uterine uterus vagina vaginal vascular ventricular vertebra vertebral vulvar intestinal breast-cancer
        chromosome chromosomal myelin neuromuscular craniofacial
        """.split()
    )
    | {"urinary tract", "digestive tract", "immune system", "central nervous system", "nervous system", "small intestine", "menstrual cycle"},
}  # fmt: skip

WEAK = frozenset(
    """
    pain painful treatment therapy therapist health healthy condition disorder doctor doc nurse sick ill illness injury
    injured injuries blood heart lung liver brain bone muscle skin stomach nerve spine knee shoulder hip ankle wrist
    chest throat breast eye ear nose virus viral bacteria bacterial fungal depression depressed anxiety anxious stress
    addiction addict smoking smoker alcohol drug drugs tablet tablets pill pills dose vitamin deficiency
    disability disabled mutation hormone hormonal acute chronic severe inpatients elderly weight diet dietary sleep
    nutrition screening exam ward survival cure cured recovery infant newborn toddler maternal prevention
    mg ml checkup check-up emergency scar scan menstrual tissue organ
    abnormal abnormality abnormalities protein enzyme overweight underweight bedridden hurts hurt hurting sore dental
    tooth teeth gum gums therapeutic cohort randomized efficacy adolescents prevalence incidence caregiver
    retardation smokes hearing unvaccinated hypersensitivity sensitivity intolerance poisoning
    """.split()
)

# Endings of names of diseases, procedures and drugs, and the everyday words that share them.
ENDINGS = (
    "itis", "osis", "iasis", "esthesia", "emia", "aemia", "uria", "algia", "ectomy", "otomy", "ostomy", "plasty", "oscopy", "opathy",
    "opathic", "trophy", "trophic", "plegia", "plegic", "paresis", "sarcoma", "blastoma", "carcinoma", "adenoma",
    "myoma", "lipoma", "glioma", "phoma", "noma", "cytoma", "angioma", "genesis imperfecta", "penia", "philia", "rrhea",
    "rrhoea", "rrhage", "spasm", "megaly", "cephaly", "dactyly", "phagia", "plasia", "plastic anemia", "stenosis",
    "sclerosis", "statin", "cillin", "mycin", "azole", "prazole", "sartan", "pril", "olol", "azepam", "zepam", "zolam",
    "tinib", "zumab", "ximab", "lumab", "mumab", "cycline", "floxacin", "dipine", "caine", "oxetine", "triptan", "gliptin",
    "gliflozin", "glutide", "vir", "ologist", "iatrist", "kinesia", "kalemia", "natremia", "derma", "dermic", "cardia",
    "cardial", "cardium", "tonia", "asthenia", "toxicity", "osteal", "opsy", "onychia", "kerat", "derm", "genetic",
    "therapy", "nephric", "hepatic", "pnea", "phobia", "mania", "lepsy", "leptic", "cytosis", "keratosis", "opia", "ophthalmia",
    "glossia", "gnathia", "cephalic", "dysplastic", "stomatous", "oma's", "aciduria", "acidemia",
)  # fmt: skip

NOT_MEDICAL = frozenset(
    """
    osmosis verschmerzen selbstentzündung mitosis meiosis metamorphosis hypnosis apotheosis symbiosis academia bohemia anemias-of-trade sympathy
    empathy apathy telepathy trophy trophies atrophy-of-rights economist antipathy april cornucopia utopia dystopia
    psychologist biologist geologist ecologist sociologist anthropologist archaeologist technologist zoologist
    meteorologist criminologist theologist ideologist genealogist romania tasmania germania mania lithuania estonia
    catatonia bulgaria cocaine philosophia bibliophilia telemania ethiopia egyptologist entomologist epistemologist
    gynosis photosynthesis enzymosis thermosis kleptomania novir chambers elvir devoir reservoir noma paterma april's nostalgia diagnosis
    diploma aroma mythologist seismologist ornithologist volcanologist climatologist musicologist philologist paleontologist
    vir trope eutrophic autotrophic heterotrophic narcosis virtuosis genetic gnosis agnosis anagnosis caledonia exocytosis
    endocytosis phagocytosis apoptosis photographia aboulia strophe mastiff pachyderm ectoderm endoderm mesoderm xenophobia homophobia
    necrophilia autonomia primatologist hydrologist estonias ketosis graphologist antonia latonia tonia
    """.split()
)
