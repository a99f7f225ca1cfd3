echo 'pipeline a=source mysql x.y->sink null' | lode fmt -
echo 'pipeline a=source mysql x.y->sink null' | lode fmt --check -
echo 'pipeline a=source mysql x.y->sink null' > a.lode; lode fmt --check a.lode scripts/01_first.lode
lode fmt a.lode; cat a.lode; lode fmt --check a.lode
echo 'pipeline a =' | lode fmt -
lode fmt nope.lode scripts
lode fmt
